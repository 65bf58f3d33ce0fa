"""Where the time of each stage goes, and how far it is from its floor.

    python benchmarks/speed/shares.py ROOT [--config FILE] [settings of the run]

Fold 0 of ROOT's competition. Every part is timed alone, in this process and without workers, so shares are of work, not
of waiting. Floors: operations counted by torch's FlopCounterMode over the rate of a large matrix product in the same
precision, and bytes of the layers' inputs and outputs (a forward pass moves each once, a backward pass twice) over the
rate of a large copy; the larger of both is the floor.
"""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from supcon.images.decode import read_image  # noqa: E402
from supcon.run.experiment import Experiment, load_experiment  # noqa: E402
from supcon.settings import parse  # noqa: E402
from supcon.training.build import Training, classifier_training, contrastive_training  # noqa: E402
from supcon.training.device import autocast, set_up_device  # noqa: E402
from supcon.training.loop import Plan, Step, _save  # noqa: E402
from supcon.training.model.timm_import import timm  # noqa: E402
from supcon.training.precision import choose_precision  # noqa: E402

STEPS = 6  # timed, after two
Parts = dict[str, float]  # seconds


def main() -> None:
    experiment = choose_precision(load_experiment(parse(__doc__ or "", None)))
    settings = experiment.settings
    if settings.augment.on_device:
        sys.exit("error: views made on the device are no loader's work: leave --augment.on_device out")
    device = set_up_device(settings.machine)
    print(f"{settings.model.encoder}, {settings.data.image_size} px, {settings.train.precision}", flush=True)
    decode = decoding(experiment)
    print(f"decode: {decode * 1e3:.2f} ms an image, once a root", flush=True)
    builds: dict[str, Callable[[], Training]] = {
        "pretrain": lambda: contrastive_training(experiment, 0, device),
        "finetune": lambda: classifier_training(experiment, 0, device, None),
    }
    for stage, build in builds.items():
        if getattr(settings, stage).epochs:
            parts, images, floor = epoch(build(), experiment, stage, device)
            show(stage, parts, images, floor)
    parts, images, floor = prediction(experiment, device)
    show("predict", parts, images, floor)


def show(stage: str, parts: Parts, images: float, floor: Parts) -> None:
    """Print each part's seconds and share, and the floor of those that have one."""
    total = sum(parts.values())
    print(f"\n{stage}: {images:.0f} images, {total:.1f} s, {images / total:.0f} images/s\n")
    print("| part | s | share | floor, s | times the floor |\n|---|---|---|---|---|")
    for part, seconds in parts.items():
        least = f"{floor[part]:.2f} | {seconds / floor[part]:.1f}" if part in floor else " | "
        print(f"| {part} | {seconds:.2f} | {seconds / total:.1%} | {least} |", flush=True)


def decoding(experiment: Experiment) -> float:
    """Return the seconds that an image takes to read and decode."""
    files = experiment.competition.files[:200]
    started = time.perf_counter()
    for file in files:
        read_image(str(file))
    return (time.perf_counter() - started) / len(files)


def epoch(training: Training, experiment: Experiment, stage: str, device: torch.device) -> tuple[Parts, float, Parts]:
    """Return the seconds of an epoch's parts, its images, and the floors."""
    settings = experiment.settings
    clock = Clock()
    model, batches = training.model.train(), len(training.sampler)
    ema = timm.utils.ModelEmaV3(model, decay=0.999)
    step = Step(0.5, 0, lambda: autocast(device, settings.train.precision))
    training.sampler.set_epoch(0)
    loader: Any = training.loader
    flops = moved = 0.0
    keys = iter(training.sampler)
    for number in range(min(STEPS + 2, batches)):
        if number == min(2, batches - 1):
            clock.parts.clear()
        with clock("read and augment"):
            views, labels = loader.dataset.__getitems__(next(keys))
        with clock("transfer"):
            views = views.to(device)
        if number == 0:
            flops, moved = work(model["encoder"], views.flatten(0, 1))
        training.optimizer.zero_grad(set_to_none=True)
        with clock.split(model["encoder"], "forward", "loss and backward"):
            training.objective.backward(model, views, labels, step)
        with clock("clip"):
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        with clock("optimizer"):
            training.optimizer.step()
        with clock("average of weights"):
            ema.update(model, step=number)
    timed = min(STEPS + 2, batches) - min(2, batches - 1)
    parts = {name: seconds / timed * batches for name, seconds in clock.parts.items()}
    started = time.perf_counter()
    training.objective.end_of_epoch(model)
    parts["evaluation"] = time.perf_counter() - started
    started = time.perf_counter()
    plan = Plan(experiment.stage(stage, 0), getattr(settings, stage), settings.train, device)
    path = plan.checkpoint.with_name("profile.pt")
    kept = {"model": model, "ema": ema.module, "optimizer": training.optimizer, "objective": training.objective}
    _save(path, kept, [])
    path.unlink()
    parts["checkpoint"] = time.perf_counter() - started
    images = views.shape[0] * views.shape[1]
    forward = least_seconds(flops, moved, settings.train.precision)
    floor = {"forward": forward * batches, "loss and backward": 2 * forward * batches}
    return parts, images * batches, floor


def prediction(experiment: Experiment, device: torch.device) -> tuple[Parts, float, Parts]:
    """Return the seconds of one fold's test rows in all views, the images, and the floor."""
    from supcon.images.augment.views import prediction_views
    from supcon.training.data import FixedViews
    from supcon.training.device import forward_views
    from supcon.training.model.encoder import Encoder, fuse_batch_norm

    settings = experiment.settings
    side, train = settings.data.image_size, settings.train
    encoder = fuse_batch_norm(
        Encoder(settings.model, side, load_weights=False, channels_last=train.channels_last), side
    )
    encoder.to(device)
    views = prediction_views(settings.augment, settings.predict.views)
    dataset = FixedViews(experiment.open_prediction_images(), experiment.test_positions, views, side, settings.data.fit)
    clock, size = Clock(), settings.predict.batch_size
    rows = list(range(len(dataset)))
    for first in range(0, len(rows), size):
        with clock("read and views"):
            batch = dataset.__getitems__(rows[first : first + size])
        with clock("forward"):
            forward_views(encoder, batch, device, train.precision)
    flops, moved = work(encoder, batch.flatten(0, 1).to(device))
    scale = len(rows) * len(views) / (batch.shape[0] * batch.shape[1])
    return clock.parts, len(rows) * len(views), {"forward": scale * least_seconds(flops, moved, train.precision)}


class Clock:
    """Sums the seconds of named parts."""

    def __init__(self) -> None:
        self.parts: Parts = {}

    def add(self, name: str, seconds: float) -> None:
        """Count seconds to a part."""
        self.parts[name] = self.parts.get(name, 0.0) + seconds

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Time what is done within."""
        started = time.perf_counter()
        yield
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.add(name, time.perf_counter() - started)

    @contextmanager
    def split(self, module: nn.Module, inside: str, rest: str) -> Iterator[None]:
        """Time what `module` takes apart from all else."""
        begun: list[float] = []
        before = sum(self.parts.get(name, 0.0) for name in (inside,))
        hooks = [
            module.register_forward_pre_hook(lambda *_: begun.append(time.perf_counter())),
            module.register_forward_hook(lambda *_: self.add(inside, time.perf_counter() - begun.pop())),
        ]
        with self(rest):
            yield
        for hook in hooks:
            hook.remove()
        self.parts[rest] -= self.parts[inside] - before


@torch.no_grad()
def work(encoder: nn.Module, views: Tensor) -> tuple[float, float]:
    """Return the operations of a forward pass, and the elements that its layers take and give."""
    elements = 0.0

    def count(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal elements
        elements += inputs[0].numel() + output.numel()

    leaves = [module for module in encoder.modules() if not list(module.children())]
    hooks = [leaf.register_forward_hook(count) for leaf in leaves if not isinstance(leaf, nn.Identity)]
    few = views[: max(2, len(views) // 8)]
    with FlopCounterMode(display=False) as counter:
        encoder(few)
    for hook in hooks:
        hook.remove()
    return counter.get_total_flops() * len(views) / len(few), elements * len(views) / len(few)


def least_seconds(flops: float, elements: float, precision: str) -> float:
    """Return what a forward pass must take on this machine."""
    dtype = torch.bfloat16 if precision == "bfloat16" else torch.float32
    square = torch.randn(2048, 2048).to(dtype)
    rate = 2 * 2048**3 / best_s(lambda: square @ square)
    wide = torch.zeros(2**26, dtype=torch.uint8)
    bandwidth = 2 * wide.numel() / best_s(lambda: wide.clone())
    return max(flops / rate, elements * dtype.itemsize / bandwidth)


def best_s(action: Callable[[], object]) -> float:
    """Return the least seconds of a few calls."""
    seconds = []
    for _ in range(6):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


if __name__ == "__main__":
    main()
