"""What a large contrastive batch costs: seconds a step and peak memory, with GradCache and a memory of keys.

    python benchmarks/gradcache.py

resnet10t, 32 px, float32, form out, one step = forward + backward; the median of three, each setting in a process of
its own. Peak memory is beyond what the network and the images take.
"""

import re
import statistics
import subprocess
import sys
import time
from contextlib import nullcontext
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.config.settings import ModelSettings  # noqa: E402
from supcon.config.training import PretrainSettings  # noqa: E402
from supcon.engine.loop import Step  # noqa: E402
from supcon.engine.memory import Memory  # noqa: E402
from supcon.engine.objectives import ContrastivePretraining  # noqa: E402
from supcon.model.encoder import Encoder  # noqa: E402
from supcon.model.heads import contrast_parts  # noqa: E402

CLASSES, SIDE = 10, 32
CASES = [(256, 0, 0), (256, 0, 8192), (2048, 0, 0), (2048, 128, 0), (2048, 0, 8192), (2048, 128, 8192)]


def main() -> None:
    if len(sys.argv) > 1:
        print(*measure(*map(int, sys.argv[1:])))
        return
    columns = ["batch", "micro_batch", "memory", "s a step", "images/s", "peak MB", "passes an image"]
    print("| " + " | ".join(columns) + " |\n" + "|---" * len(columns) + "|")
    for case in CASES:
        own = [sys.executable, __file__, *map(str, case)]
        seconds, peak, passes = subprocess.run(own, capture_output=True, text=True, check=True).stdout.split()
        speed = case[0] / float(seconds)
        print(f"| {case[0]} | {case[1]} | {case[2]} | {seconds} | {speed:.0f} | {peak} | {passes} |", flush=True)


def measure(batch: int, micro_batch: int, memory: int) -> tuple[str, str, str]:
    """Return seconds a step, peak megabytes, and passes an image."""
    torch.manual_seed(0)
    settings = PretrainSettings(micro_batch=micro_batch, memory=memory)
    encoder = Encoder(ModelSettings(encoder="resnet10t", pretrained=False), SIDE, load_weights=False)
    model = nn.ModuleDict({"encoder": encoder, **contrast_parts(encoder.width, CLASSES, settings)})
    keys = Memory(model, memory, settings.momentum) if memory else None
    objective = ContrastivePretraining(settings, CLASSES, lambda encoder: (torch.zeros(1), torch.zeros(1)), keys)
    views = torch.randint(0, 256, (batch, 1, SIDE, SIDE, 3), dtype=torch.uint8)
    labels = torch.arange(batch) % CLASSES
    Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
    before, seconds = peak_megabytes(), []
    for step in range(4):
        started = time.perf_counter()
        objective.backward(model, views, labels, Step(0.0, step, nullcontext))
        seconds.append(time.perf_counter() - started)
    used = peak_megabytes() - before
    return f"{statistics.median(seconds[1:]):.2f}", f"{used:.0f}", f"{objective.passes(batch) / batch:.2f}"


def peak_megabytes() -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) / 1024  # type: ignore[index]


if __name__ == "__main__":
    main()
