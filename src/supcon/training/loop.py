"""The training loop: learning rates, EMA, clipping, checkpoints every epoch, and a stop on a non-finite loss."""

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol, cast

import torch
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.randomness import seed_at, seed_everything
from supcon.run.stage import StageRun
from supcon.settings.training import FinetuneSettings, PretrainSettings, TrainSettings
from supcon.storage.files import check_seal, write_sealed
from supcon.training import ranks
from supcon.training.data import Batch
from supcon.training.device import autocast, gradient_scaler
from supcon.training.gradcache import Context
from supcon.training.health import Health, Meter, Metrics, StepMetrics
from supcon.training.log import EpochLog, Row, bar
from supcon.training.model.adapter import Adapter
from supcon.training.model.encoder import Encoder
from supcon.training.model.lora import merge_lora
from supcon.training.model.timm_import import timm
from supcon.training.optimizer import Schedule
from supcon.training.sampler import BatchSampler


@dataclass(frozen=True)
class Step:
    """What an objective needs to know about a step."""

    progress: float  # share of the stage's steps that are done, 0 .. 1
    seed: int  # for what this step draws
    autocast: Context  # for forward passes
    scaled: Callable[[Tensor], Tensor] = lambda loss: loss  # what to go backward from


class Objective(Protocol):
    """What a stage minimises."""

    def backward(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, StepMetrics]:
        """Add the gradient of a batch's scaled loss to the parameters; return its loss, detached, and what to log.

        `views` are uint8 [B, V, side, side, 3], `labels` [B]. Labels stay on the CPU, because the losses read their
        values, and reading a value from a GPU waits for all that runs there.
        """

    def passes(self, images: int) -> float:
        """Return the cost of a batch of `images` views, in image passes: a forward pass is a third of one."""

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return what is measured once an epoch, for monitoring alone: the training must not depend on it."""

    def state_dict(self) -> dict[str, Any]:
        """Return the objective's own state at the end of an epoch, beside the model's, for a checkpoint."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the state from a checkpoint."""
        return


@dataclass(frozen=True)
class Training:
    """What a stage trains, and on what."""

    encoder: Encoder | Adapter  # within the model, or beside it where only a head is trained on its features
    model: nn.ModuleDict
    objective: Objective
    loader: Iterable[Batch]
    sampler: BatchSampler
    optimizer: torch.optim.Optimizer
    schedule: Schedule


@dataclass(frozen=True)
class Plan:
    """How long and how to train a stage, and where."""

    stage: StageRun
    options: PretrainSettings | FinetuneSettings
    shared: TrainSettings
    device: torch.device

    @property
    def checkpoint(self) -> Path:
        """The file that an interrupted stage goes on from."""
        return self.stage.folder / f"{self.stage.name}.checkpoint.pt"


def train(training: Training, plan: Plan) -> tuple[nn.ModuleDict, EpochLog]:
    """Train the model; return it with its averaged weights (its last ones where `ema` is 0), and the log of its epochs.

    Training resumes from the checkpoint where there is one, with the same result: each epoch's random streams are
    seeded by its number, so a checkpoint needs no random state. Of several processes each trains on its share of the
    batches, with the gradient and the metrics of whole batches; the first one writes. Raises `UserError` on a
    non-finite loss, and where the processes do not see the same checkpoint.
    """
    options, label = plan.options, plan.stage.label
    model, objective, sampler = training.model, training.objective, training.sampler
    parallel = replace(training, model=ranks.parallel(model))  # the same weights; gradients averaged over processes
    log = EpochLog(plan.stage, options.epochs)
    ema = timm.utils.ModelEmaV3(model, decay=options.ema, use_warmup=True) if options.ema else None
    models = {"model": model} if ema is None else {"model": model, "ema": cast(nn.ModuleDict, ema.module)}
    scaler = gradient_scaler(plan.device, plan.shared.precision)
    parts = {**models, "optimizer": training.optimizer, "objective": objective}
    if scaler.is_enabled():
        parts["scaler"] = scaler
    averaged = models.get("ema", model)
    first = _restore(plan.checkpoint, parts, log)
    if first != ranks.broadcast(first):
        raise UserError(f"{plan.checkpoint} is not what the first process sees: share runs/ between the machines")
    _report_unseen(plan, sampler)
    health = Health(plan.stage.name, label, options.epochs)
    precision = partial(autocast, plan.device, plan.shared.precision)
    steps = options.epochs * len(sampler)
    with log.tracked():
        for epoch in range(first, options.epochs):
            started = time.time()
            where = (plan.shared.seed, label, epoch)
            seed_everything(*where)
            if not ranks.is_first():  # dropout differs by rank; mixing draws from NumPy's stream, which all ranks share
                torch.manual_seed(seed_at(*where, "rank", ranks.rank()))
            sampler.set_epoch(epoch)
            model.train()
            meter = Meter(plan.stage.name, label, epoch, plan.device, health, may_overflow=scaler.is_enabled())
            passes = 0.0
            for number, (views, labels) in enumerate(bar(training.loader, f"{label} epoch {epoch + 1}", len(sampler))):
                step = epoch * len(sampler) + number
                training.schedule.set(step)
                batch = views.to(plan.device, non_blocking=True), labels
                now = Step(step / steps, seed_at(*where, number), precision, scaler.scale)
                meter.add(*training_step(parallel, batch, now, options.clip, scaler))
                if ema is not None:
                    ema.update(model, step=training.schedule.first + step)
                passes += objective.passes(views.shape[0] * views.shape[1])
            totals = meter.means()
            ranks.average_buffers(*models.values())
            totals |= objective.end_of_epoch(averaged)
            passes = ranks.mean({"passes": passes})["passes"] * ranks.world_size()
            log.add({**totals, "passes": round(passes), "seconds": round(time.time() - started, 1)})
            health.epoch(epoch)
            if epoch + 1 < options.epochs and ranks.is_first():
                _save(plan.checkpoint, parts, log.rows)
    health.end()
    merge_lora(averaged)
    return averaged, log


def _report_unseen(plan: Plan, sampler: BatchSampler) -> None:
    """Print the share of training images that no batch of the stage will show.

    PK batches that show all classes equally often may leave out many images of large classes.
    """
    epochs, stage = plan.options.epochs, plan.stage
    if (share := sampler.unseen(epochs)) and ranks.is_first():
        shown = f"about {share:.0%}" if share >= 0.01 else "under 1%"
        print(
            f"{stage.label}: {shown} of the images are never seen in {epochs} x {len(sampler):,} batches: lower"
            f" --batches.balance, so that classes come by their images, or raise --{stage.name}.epochs",
            flush=True,
        )


def training_step(
    training: Training, batch: Batch, step: Step, clip: float, scaler: torch.amp.GradScaler
) -> tuple[Tensor, Tensor, StepMetrics]:
    """Train on one batch (views on the device, labels); return its loss, gradient norm and what to log.

    Gradients are clipped to the norm `clip`; 0 does not clip. Where the norm is not finite an enabled `scaler` leaves
    the weights as they are, and scales the next loss less.
    """
    training.optimizer.zero_grad(set_to_none=True)
    loss, metrics = training.objective.backward(training.model, *batch, step)
    scaler.unscale_(training.optimizer)
    norm = nn.utils.clip_grad_norm_(training.model.parameters(), clip or float("inf"))
    scaler.step(training.optimizer)
    scaler.update()
    return loss, norm, metrics


def _save(path: Path, parts: Mapping[str, Any], rows: list[Row]) -> None:
    state = {**{name: part.state_dict() for name, part in parts.items()}, "rows": rows}
    # torch's own checksums triple the time of a save, and torch.load does not compare them: the seal does
    torch.serialization.set_crc32_options(False)
    write_sealed(path, lambda file: _write_state(state, file))


def _write_state(state: dict[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(state, file)
    except RuntimeError as error:  # torch's writer raises this for a full disk
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _restore(path: Path, parts: Mapping[str, Any], log: EpochLog) -> int:
    """Load the checkpoint, if there is one, and return the number of finished epochs."""
    if not path.exists():
        return 0
    try:
        check_seal(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
        for name, part in parts.items():
            part.load_state_dict(state[name])
        rows = [dict[str, float](row) for row in state["rows"]]
    except Exception as error:  # torch, pickle and zip each raise errors of their own
        reason = next(iter(str(error).splitlines()), "") or type(error).__name__
        raise UserError(f"{path} is damaged ({reason[:200]}): delete it to start the stage anew") from None
    log.restore(rows)
    return len(log.rows)
