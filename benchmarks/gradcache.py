"""The cost of a large contrastive batch: seconds a step and peak memory, with GradCache and a queue of keys.

    python benchmarks/gradcache.py
    python benchmarks/gradcache.py --device cuda --json gradcache.json

resnet10t, 32 px, float32, form out, one step = forward + backward; the median of three, each setting in a process of
its own on the CPU. Peak memory is counted without the network and the images. The last line is GradCache's error: its
gradient against that of one graph over the same chunks.
"""

import argparse
import json
import re
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.losses import contrastive_loss  # noqa: E402
from supcon.settings.settings import MachineSettings, ModelSettings  # noqa: E402
from supcon.settings.training import ContrastSettings, PretrainSettings  # noqa: E402
from supcon.training import gradcache  # noqa: E402
from supcon.training.device import set_up_device  # noqa: E402
from supcon.training.key_queue import KeyQueue  # noqa: E402
from supcon.training.loop import Step  # noqa: E402
from supcon.training.model.encoder import Encoder  # noqa: E402
from supcon.training.model.heads import contrast_parts  # noqa: E402
from supcon.training.objectives import StageObjective  # noqa: E402

CLASSES, SIDE = 10, 32
Case = tuple[int, int, int]  # batch, micro_batch, memory
CASES = {
    "cpu": [(256, 0, 0), (256, 0, 8192), (2048, 0, 0), (2048, 128, 0), (2048, 0, 8192), (2048, 128, 8192)],
    "cuda": [(2048, 0, 0), (2048, 256, 0), (16384, 0, 0), (16384, 512, 0), (16384, 512, 8192), (65536, 1024, 0)],
}
QUICK = [(64, 0, 0), (64, 16, 32)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=CASES, default="cpu")
    parser.add_argument("--quick", action="store_true", help="tiny batches, to try the script")
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--case", nargs=3, type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        batch, micro_batch, memory = args.case
        print(json.dumps(measure(batch, micro_batch, memory, torch.device("cpu"))))
        return
    columns = ["batch", "micro_batch", "memory", "s a step", "images/s", "peak MB", "passes an image"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    rows: list[dict[str, Any]] = []
    for case in QUICK if args.quick else CASES[args.device]:
        rows.append(dict(zip(columns, (*case, *measured(case, args.device)), strict=True)))
        print("| " + " | ".join(f"{value:.4g}" for value in rows[-1].values()) + " |", flush=True)
        write(args.json, rows)
    rows.append({"error of the gradient": error_of_gradient(torch.device(args.device))})
    print(f"error of the gradient, relative: {rows[-1]['error of the gradient']:.1e}")
    write(args.json, rows)


def write(path: Path | None, rows: list[dict[str, Any]]) -> None:
    if path:
        path.write_text(json.dumps(rows, indent=1))


def measured(case: Case, device: str) -> tuple[float, ...]:
    """Return the numbers of `measure`; nan where memory is too small."""
    if device == "cpu":
        own = [sys.executable, __file__, "--case", *map(str, case)]
        return tuple(json.loads(subprocess.run(own, capture_output=True, text=True, check=True).stdout))
    try:
        return measure(*case, set_up_device(MachineSettings(device=device)))
    except torch.cuda.OutOfMemoryError:
        return (float("nan"),) * 4


def measure(batch: int, micro_batch: int, memory: int, device: torch.device) -> tuple[float, float, float, float]:
    """Return seconds a step, images a second, peak megabytes, and passes an image."""
    torch.manual_seed(0)
    settings, contrast = PretrainSettings(micro_batch=micro_batch, memory=memory), ContrastSettings()
    encoder = resnet(device)
    model = nn.ModuleDict({"encoder": encoder, **contrast_parts(encoder.width, CLASSES, contrast)}).to(device)
    keys = KeyQueue(model, memory, settings.momentum) if memory else None
    objective = StageObjective(settings, contrast, torch.zeros(CLASSES, device=device), None, keys)
    views = torch.randint(0, 256, (batch, 1, SIDE, SIDE, 3), dtype=torch.uint8).to(device)
    labels = torch.arange(batch) % CLASSES
    before, seconds = start_peak(device), []
    for step in range(4):
        started = time.perf_counter()
        objective.backward(model, views, labels, Step(0.0, step, nullcontext))[0].item()
        seconds.append(time.perf_counter() - started)
    used, median = peak_megabytes(device) - before, statistics.median(seconds[1:])
    return median, batch / median, used, objective.passes(batch) / batch


def error_of_gradient(device: torch.device, images: int = 64, chunks: int = 4) -> float:
    """Return how far GradCache's gradient is from that of one graph over the same chunks, as a share of its length."""
    encoder, labels = resnet(device).train(), torch.arange(images) % CLASSES
    views = torch.randint(0, 256, (images, SIDE, SIDE, 3), dtype=torch.uint8).to(device)

    def gradient() -> Tensor:
        flat = torch.cat([p.grad.flatten() for p in encoder.parameters() if p.grad is not None])
        encoder.zero_grad()
        return flat

    gradcache.backward(encoder, views, lambda features: contrastive_loss(features, labels), chunks)
    cached = gradient()
    contrastive_loss(torch.cat([encoder(part) for part in views.tensor_split(chunks)]), labels).backward()
    whole = gradient()
    return ((cached - whole).norm() / whole.norm()).item()


def resnet(device: torch.device) -> Encoder:
    return Encoder(ModelSettings(encoder="resnet10t", pretrained=False), SIDE, load_weights=False).to(device)


def start_peak(device: torch.device) -> float:
    """Reset the peak, and return the megabytes in use."""
    if device.type == "cpu":
        Path("/proc/self/clear_refs").write_text("5")  # Linux
    else:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    return peak_megabytes(device)


def peak_megabytes(device: torch.device) -> float:
    if device.type != "cpu":
        return torch.cuda.max_memory_allocated() / 2**20
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    main()
