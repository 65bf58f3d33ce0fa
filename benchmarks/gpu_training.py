"""Training images/s, one speed-up after the other.

    python benchmarks/gpu_training.py --device cuda --json training.json

Contrastive pre-training steps (forward, loss, backward, clipping, AdamW, EMA) on images that lie on the device; the
median of three runs of several steps each, after a warm-up. Each row changes one thing in the row above it, compiling
last, and on a GPU alone: `s to start` is what the first two steps took. `waits` counts how often a step makes the CPU
wait for the GPU.
"""

import argparse
import json
import statistics
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.settings.settings import MachineSettings, ModelSettings  # noqa: E402
from supcon.settings.training import ContrastSettings, PretrainSettings, TrainSettings  # noqa: E402
from supcon.training.device import autocast, gradient_scaler, set_up_device  # noqa: E402
from supcon.training.loop import Step, Training, training_step  # noqa: E402
from supcon.training.model.encoder import Encoder  # noqa: E402
from supcon.training.model.heads import contrast_parts  # noqa: E402
from supcon.training.model.timm_import import timm  # noqa: E402
from supcon.training.objectives import StageObjective  # noqa: E402
from supcon.training.optimizer import Schedule, encoder_groups, head_groups, make_optimizer  # noqa: E402
from supcon.training.sampler import NaturalSampler  # noqa: E402

CLASSES, RUNS = 64, 3
MODELS = {"resnet18": (32, 1024), "tf_efficientnet_lite0": (128, 256), "resnet50": (224, 256)}  # side, batch
QUICK = {"test_resnet": (16, 8)}


@dataclass(frozen=True)
class Variant:
    """The speed-ups that a row uses."""

    tf32: bool = False
    precision: str = "float32"
    channels_last: bool = False
    fused: bool = False
    compiled: bool = False


FASTER: dict[str, dict[str, Any]] = {
    "float32": {},
    "+ TF32": {"tf32": True},
    "+ bfloat16": {"precision": "bfloat16"},
    "+ channels_last": {"channels_last": True},
    "+ fused AdamW": {"fused": True},
    "float16 in place of bfloat16": {"precision": "float16"},
    "+ compile, bfloat16": {"compiled": True, "precision": "bfloat16"},
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny network and batch, to try the script")
    parser.add_argument("--json", type=Path, help="also write the rows here, after each")
    args = parser.parse_args()
    device = set_up_device(MachineSettings(device=args.device))
    rows: list[dict[str, Any]] = []
    chosen: dict[str, dict[str, Any]] = {model: {} for model in (QUICK if args.quick else MODELS)}
    print("| network | px | batch | step | images/s | against the first | peak MB | waits | s to start |")
    print("|---" * 9 + "|")
    faster = FASTER if device.type == "cuda" else {name: FASTER[name] for name in FASTER if "compile" not in name}
    for name, more in faster.items():  # compiling comes last, so that only its rows are lost where time runs out
        for model, switched in chosen.items():
            switched |= more
            side, batch = (QUICK if args.quick else MODELS)[model]
            rows.append({"network": model, "px": side, "batch": batch, "step": name})
            rows[-1] |= measure(model, side, batch, Variant(**switched), device, steps=2 if args.quick else 10)
            show(rows)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))


def show(rows: list[dict[str, Any]]) -> None:
    """Print the last row beside its network's first."""
    row = rows[-1]
    first = next(other["images/s"] for other in rows if other["network"] == row["network"])
    print(
        f"| {row['network']} | {row['px']} | {row['batch']} | {row['step']} | {row['images/s']:,.0f} |"
        f" {row['images/s'] / first:.2f}x | {row['peak MB']:,.0f} | {row['waits']} | {row['s to start']:.1f} |",
        flush=True,
    )


@dataclass
class Trainer:
    """All that a training step needs."""

    training: Training
    device: torch.device
    precision: str
    ema: Any = field(init=False)
    scaler: torch.amp.GradScaler = field(init=False)

    def __post_init__(self) -> None:
        """Start the averaged weights, and what scales the loss in float16."""
        self.scaler = gradient_scaler(self.device, self.precision)
        self.ema = timm.utils.ModelEmaV3(self.training.model, decay=0.999, use_warmup=True)

    def step(self, number: int, views: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        """Take a step of the training loop, without its log."""
        self.training.schedule.set(number)
        step = Step(0.0, number, partial(autocast, self.device, self.precision), self.scaler.scale)
        loss, *_ = training_step(self.training, (views, labels), step, clip=1.0, scaler=self.scaler)
        self.ema.update(self.training.model, step=number)
        return loss


def trainer(model: str, side: int, variant: Variant, device: torch.device) -> Trainer:
    """Build the same training as `contrastive_training`, with the variant's speed-ups."""
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = variant.tf32
    torch.manual_seed(0)
    settings = ModelSettings(encoder=model, pretrained=False)
    encoder = Encoder(settings, side, load_weights=False, channels_last=variant.channels_last)
    contrast = contrast_parts(encoder.width, CLASSES, ContrastSettings())
    parts = nn.ModuleDict({"encoder": encoder, **contrast}).to(device).train()
    if variant.compiled:
        encoder.compile_training()
    groups = encoder_groups(encoder.backbone, 1e-3, 1.0, 0.05) + head_groups(contrast.values(), 1e-3, 0.05)
    shared = TrainSettings()
    optimizer = make_optimizer(groups, shared) if variant.fused else torch.optim.AdamW(groups, lr=1.0, fused=False)
    objective = StageObjective(PretrainSettings(), ContrastSettings(), torch.zeros(CLASSES, device=device), None)
    schedule = Schedule(optimizer, shared, 0, 1000)
    training = Training(encoder, parts, objective, [], NaturalSampler(1, 1, seed=0), optimizer, schedule)
    return Trainer(training, device, variant.precision)


def measure(
    model: str, side: int, batch: int, variant: Variant, device: torch.device, steps: int
) -> dict[str, float | None]:
    """Return images a second, the peak memory, how often a step waits, and seconds to start."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    measured = trainer(model, side, variant, device)
    views = torch.randint(0, 256, (batch, 1, side, side, 3), dtype=torch.uint8).to(device)
    labels = torch.arange(batch) % CLASSES
    started = time.perf_counter()
    for number in range(2):
        measured.step(number, views, labels).item()
    start = time.perf_counter() - started
    seconds = []
    for _ in range(RUNS):
        started = time.perf_counter()
        for number in range(steps):
            loss = measured.step(number, views, labels)
        loss.item()
        seconds.append(time.perf_counter() - started)
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
    waits = waits_of(lambda: measured.step(0, views, labels)) if device.type == "cuda" else 0
    return {
        "images/s": batch * steps / statistics.median(seconds),
        "peak MB": peak,
        "waits": waits,
        "s to start": start,
    }


def waits_of(step: Callable[[], object]) -> int:
    """Return how often a step makes the CPU wait for the GPU."""
    before = torch.cuda.get_sync_debug_mode()
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            step()
    finally:
        torch.cuda.set_sync_debug_mode(before)
    return sum("synchronizing" in str(warning.message) for warning in caught)


if __name__ == "__main__":
    main()
