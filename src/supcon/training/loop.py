"""The training loop: warm-up and cosine, EMA, clipping, checkpoints every epoch, and a stop on a non-finite loss."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, Protocol, cast

import torch
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.randomness import seed_at, seed_everything
from supcon.run.stage import StageRun
from supcon.settings.training import FinetuneSettings, PretrainSettings, TrainSettings
from supcon.storage.files import write_atomic
from supcon.training import ranks
from supcon.training.data import Batch
from supcon.training.device import autocast
from supcon.training.gradcache import Context
from supcon.training.health import Health
from supcon.training.log import EpochLog, Row, bar
from supcon.training.meter import Meter, Metrics, StepMetrics
from supcon.training.model.timm_import import timm
from supcon.training.optimizer import set_lr
from supcon.training.sampler import BatchSampler


@dataclass(frozen=True)
class Step:
    """What an objective needs to know about a step."""

    progress: float  # through the stage, 0 .. 1
    seed: int  # the step's own, for what it draws
    autocast: Context  # for forward passes


class Objective(Protocol):
    """What a stage minimises."""

    def backward(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, StepMetrics]:
        """Add a batch's gradient to the parameters; return its loss, detached, and what to log.

        `views` are uint8 [B, V, side, side, 3], `labels` [B]. Labels stay on the CPU, from where they steer the losses:
        whatever asks the device for a value makes it wait.
        """
        ...

    def passes(self, images: int) -> float:
        """Return what a batch of `images` views costs, in image passes: a forward pass is a third of one."""
        ...

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return what is measured once an epoch. Monitoring only: nothing may depend on it."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint needs of the objective itself, at the end of an epoch."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint."""
        ...


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


def train(
    model: nn.ModuleDict,
    objective: Objective,
    loader: Iterable[Batch],
    sampler: BatchSampler,
    optimizer: torch.optim.Optimizer,
    plan: Plan,
) -> tuple[nn.ModuleDict, EpochLog]:
    """Train `model`; return it with its averaged weights (its last ones where `ema` is 0), and the log of its epochs.

    Goes on from the checkpoint when there is one, to the same end: each epoch's random streams are seeded by its
    number, so a checkpoint needs no random state. Raises `UserError` on a non-finite loss. Of several processes each
    trains on its share of the batches, all with the gradient and the metrics of the whole; the first one writes.
    """
    options, label = plan.options, plan.stage.label
    parallel = ranks.parallel(model)  # the same weights; the batch's gradient
    log = EpochLog(plan.stage, options.epochs)
    ema = timm.utils.ModelEmaV3(model, decay=options.ema, use_warmup=True) if options.ema else None
    first = _restore(plan.checkpoint, model, ema, optimizer, objective, log)
    if first != ranks.broadcast(first):
        raise UserError(f"{plan.checkpoint} is not what the first process sees: share runs/ between the machines")
    log.open()
    _tell_unseen(plan, sampler)
    health = Health(plan.stage.name, label, options.epochs)
    precision = partial(autocast, plan.device, plan.shared.precision)
    steps = options.epochs * len(sampler)
    for epoch in range(first, options.epochs):
        started = time.time()
        _seed(plan, epoch)
        sampler.set_epoch(epoch)
        model.train()
        meter = Meter(plan.stage.name, label, epoch, plan.device, health)
        passes = 0.0
        for number, (views, labels) in enumerate(bar(loader, f"{label} epoch {epoch + 1}", len(sampler))):
            step = epoch * len(sampler) + number
            set_lr(optimizer, step, steps, options.warmup)
            batch = views.to(plan.device, non_blocking=True), labels
            now = Step(step / steps, seed_at(plan.shared.seed, label, epoch, number), precision)
            meter.add(*training_step(parallel, objective, optimizer, batch, now, options.clip))
            if ema is not None:
                ema.update(model, step=step)
            passes += objective.passes(views.shape[0] * views.shape[1])
        totals = meter.means()
        ranks.average_buffers(model, *([] if ema is None else [ema.module]))
        totals |= objective.end_of_epoch(averaged(model, ema))
        passes = ranks.mean({"passes": passes})["passes"] * ranks.world_size()
        log.add({**totals, "passes": round(passes), "seconds": round(time.time() - started, 1)})
        health.epoch(epoch)
        if epoch + 1 < options.epochs and ranks.is_first():
            _save(plan.checkpoint, model, ema, optimizer, objective, log.rows)
    health.end()
    log.close()
    return averaged(model, ema), log


def _tell_unseen(plan: Plan, sampler: BatchSampler) -> None:
    """Say how much of the training images a stage's batches leave out; PK batches of classes alike may leave a lot."""
    epochs, stage = plan.options.epochs, plan.stage
    if (share := sampler.unseen(epochs)) and ranks.is_first():
        shown = f"about {share:.0%}" if share >= 0.01 else "under 1%"
        print(
            f"{stage.label}: {shown} of the images are never seen in {epochs} x {len(sampler):,} batches: lower"
            f" --batches.balance, so that classes come by their images, or raise --{stage.name}.epochs",
            flush=True,
        )


def training_step(
    model: nn.ModuleDict,
    objective: Objective,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    step: Step,
    clip: float,
) -> tuple[Tensor, Tensor, StepMetrics]:
    """Move the weights by one batch (views on the device, labels); return its loss, gradient norm and what to log."""
    optimizer.zero_grad(set_to_none=True)
    loss, metrics = objective.backward(model, *batch, step)
    norm = nn.utils.clip_grad_norm_(model.parameters(), clip or float("inf"))
    optimizer.step()
    return loss, norm, metrics


def _seed(plan: Plan, epoch: int) -> None:
    where = (plan.shared.seed, plan.stage.label, epoch)
    seed_everything(*where)
    if not ranks.is_first():  # dropout has streams of its own; mixing, NumPy's, is the same everywhere
        torch.manual_seed(seed_at(*where, "rank", ranks.rank()))


def averaged(model: nn.ModuleDict, ema: Any) -> nn.ModuleDict:
    """Return the model with its averaged weights, or as it is without averaging."""
    return model if ema is None else cast(nn.ModuleDict, ema.module)


def _save(
    path: Path, model: nn.Module, ema: Any, optimizer: torch.optim.Optimizer, objective: Objective, rows: list[Row]
) -> None:
    state = {
        "model": model.state_dict(),
        "ema": ema.module.state_dict() if ema is not None else {},
        "optimizer": optimizer.state_dict(),
        "objective": objective.state_dict(),
        "rows": rows,
    }
    torch.serialization.set_crc32_options(False)  # half the time of a save; the rename already tells whole from half
    write_atomic(path, lambda file: _write_state(state, file))


def _write_state(state: dict[str, Any], file: IO[bytes]) -> None:
    try:
        torch.save(state, file)
    except RuntimeError as error:  # a full disk, as torch's writer tells it
        raise (error.__context__ if isinstance(error.__context__, OSError) else error) from None


def _restore(
    path: Path, model: nn.Module, ema: Any, optimizer: torch.optim.Optimizer, objective: Objective, log: EpochLog
) -> int:
    """Load the checkpoint, if there is one, and return the number of finished epochs."""
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        model.load_state_dict(state["model"])
        if ema is not None:
            ema.module.load_state_dict(state["ema"])
        optimizer.load_state_dict(state["optimizer"])
        objective.load_state_dict(state["objective"])
    except Exception as error:  # torch, pickle and zip each have their own
        reason = str(error).splitlines()[0]
        raise UserError(f"{path} is damaged ({reason}): delete it to start the stage anew") from None
    log.restore(state["rows"])
    return len(log.rows)
