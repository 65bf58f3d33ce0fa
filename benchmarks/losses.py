"""Time and peak memory of one forward + backward pass of the losses, side by side with other formulations.

    python benchmarks/losses.py                          # form out against dense, and the two libraries where installed
    python benchmarks/losses.py --forms all --sizes 2048 4096 8192
    python benchmarks/losses.py --forms all --sizes 16384 --classes 1 --dense-up-to 0    # memory with large classes
    python benchmarks/losses.py --device cuda --sizes 1024 16384 65536 --json losses.json

D = 128, 100 classes (`--classes`), float32, temperature 0.1. Times are medians of interleaved repeats in one process;
peak memory is beyond the inputs, on the CPU that of a fresh process. `dense` holds the N x N similarities and masks;
pytorch-metric-learning 2.9.0 (SupConLoss) and lightly 1.6.0 (NTXentLoss on two views: N / 2 instances) are compared
when they are installed:

    pip install --no-deps pytorch-metric-learning==2.9.0 lightly==1.6.0 lightly-utils==0.0.2
"""

import argparse
import ctypes
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import supcon.training.model.timm_import  # noqa: E402, F401  # lightly's torchvision beside a CPU-only torch
from supcon.losses import contrastive_loss  # noqa: E402

Loss = Callable[[Tensor, Tensor], Tensor]
VARIANTS: dict[str, dict[str, Any]] = {
    "out": {},
    "in": {"form": "in"},
    "sincere": {"form": "sincere"},
    "eps_infonce": {"form": "eps_infonce", "epsilon": 0.25},
    "eps_supcon": {"form": "eps_supcon", "epsilon": 0.25},
    "balanced": {"form": "balanced"},
    "out, hardness 1": {"hardness": 1.0},
    "in, hardness 1": {"form": "in", "hardness": 1.0},
    "sincere, hardness 1": {"form": "sincere", "hardness": 1.0},
}
DIM = 128


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 2048, 4096, 8192, 16384])
    parser.add_argument("--forms", choices=["out", "all"], default="out")
    parser.add_argument("--memory", type=int, default=0, help="keys beside the batch")
    parser.add_argument("--classes", type=int, default=100)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dense-up-to", type=int, default=16384, help="largest N of the dense formulation")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--json", type=Path, help="also write the rows here")
    parser.add_argument("--peak", nargs=3, metavar=("LOSS", "VARIANT", "N"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.peak:
        name, variant, size = args.peak
        loss = losses_for(variant, args)[name]
        print(peak_of(loss, int(size), args))
        return
    torch.manual_seed(0)
    print(f"{'N':>6}  {'variant':<20} {'loss':<24} {'ms':>9} {'MB':>9}  ours is faster / smaller by")
    rows: list[dict[str, Any]] = []
    for size in args.sizes:
        for variant in VARIANTS if args.forms == "all" else ["out"]:
            rows += compare(variant, size, args)
            if args.json:
                args.json.write_text(json.dumps(rows, indent=1))


def compare(variant: str, size: int, args: argparse.Namespace) -> list[dict[str, Any]]:
    """Print one block of the table, and return its rows."""
    losses = losses_for(variant, args)
    if size > args.dense_up_to:
        losses = {"ours": losses["ours"]}
    milliseconds = time_of(losses, size, args)
    megabytes = {name: peak_memory(name, variant, size, args, loss) for name, loss in losses.items()}
    for name in losses:
        ratio = "" if name == "ours" else f"{milliseconds[name] / milliseconds['ours']:5.1f}x"
        ratio += "" if name == "ours" else f" / {megabytes[name] / max(0.1, megabytes['ours']):5.0f}x"
        print(
            f"{size:>6}  {variant:<20} {name:<24} {milliseconds[name]:>9.1f} {megabytes[name]:>9.1f}  {ratio}",
            flush=True,
        )
    return [
        {"N": size, "variant": variant, "loss": name, "ms": milliseconds[name], "MB": megabytes[name]}
        for name in losses
    ]


def peak_memory(name: str, variant: str, size: int, args: argparse.Namespace, loss: Loss) -> float:
    """Return the megabytes of one pass; nan when it runs out of memory."""
    if args.device != "cpu":
        try:
            return peak_of(loss, size, args)
        except torch.cuda.OutOfMemoryError:
            return float("nan")
    options = ["--memory", str(args.memory), "--classes", str(args.classes)]
    own = [sys.executable, __file__, *options, "--peak", name, variant, str(size)]
    done = subprocess.run(own, capture_output=True, text=True, check=False)
    return float(done.stdout) if done.returncode == 0 else float("nan")


def losses_for(variant: str, args: argparse.Namespace) -> dict[str, Loss]:
    """Return the losses to compare: ours, dense, and for form `out` the libraries that are installed."""
    options = dict(VARIANTS[variant])
    if args.memory:
        generator = torch.Generator().manual_seed(1)
        options["memory"] = torch.randn(args.memory, DIM, generator=generator).to(args.device)
        options["memory_labels"] = (torch.arange(args.memory) % args.classes).to(args.device)
    losses: dict[str, Loss] = {
        "ours": lambda z, labels: contrastive_loss(z, labels, **options),
        "dense": lambda z, labels: dense(z, labels, **options),
    }
    return losses | (libraries() if variant == "out" and not args.memory else {})


def libraries() -> dict[str, Loss]:
    """Return what is installed of the libraries that users would otherwise take."""
    losses: dict[str, Loss] = {}
    try:
        from pytorch_metric_learning.losses import SupConLoss

        losses["pytorch-metric-learning"] = SupConLoss(temperature=0.1)
    except ImportError:
        pass
    try:
        from lightly.loss import NTXentLoss

        ntxent = NTXentLoss(temperature=0.1)
        losses["lightly NTXent"] = lambda z, labels: ntxent(*z.chunk(2))
    except ImportError:
        pass
    return losses


def dense(
    z: Tensor,
    labels: Tensor,
    form: str = "out",
    epsilon: float = 0.0,
    hardness: float = 0.0,
    memory: Tensor | None = None,
    memory_labels: Tensor | None = None,
    temperature: float = 0.1,
) -> Tensor:
    """Return the loss by N x N similarities and masks, the usual way."""
    z = torch.nn.functional.normalize(z, dim=1)
    columns, names = z, labels
    if memory is not None and memory_labels is not None:
        columns = torch.cat([z, torch.nn.functional.normalize(memory, dim=1)])
        names = torch.cat([labels, memory_labels])
    s = z @ columns.T / temperature
    s = s - s.amax(dim=1, keepdim=True).detach()
    others = torch.ones_like(s).fill_diagonal_(0)
    same = (labels[:, None] == names[None]).float() * others
    different = others - same
    exponentials = s.exp() * others
    count = same.sum(dim=1).clamp(min=1)
    mean_positive = (same * s).sum(dim=1) / count
    if form == "balanced":
        sizes = torch.bincount(names)[names].float()
        share = torch.where(same > 0, 1 / (sizes - 1), 1 / sizes)
        losses = (exponentials * share).sum(dim=1).log() - mean_positive
    elif form == "out" and hardness == 0:
        losses = exponentials.sum(dim=1).log() - mean_positive
    else:
        own = (exponentials * same).sum(dim=1)
        negative = exponentials * different
        if hardness:
            weights = (hardness * s).exp() * different
            negative = weights * negative * different.sum(dim=1, keepdim=True) / weights.sum(dim=1, keepdim=True)
        total = negative.sum(dim=1)
        if form in ("sincere", "eps_infonce"):
            pairs = (((s - epsilon).exp() + total[:, None]).log() - s) * same
            losses = pairs.sum(dim=1) / count
        elif form == "in":
            losses = (own + total).log() - own.log() + count.log()
        else:
            losses = (own * torch.exp(torch.tensor(-epsilon)) + total).log() - mean_positive
    return losses.mean()


def time_of(losses: dict[str, Loss], size: int, args: argparse.Namespace) -> dict[str, float]:
    """Return the median milliseconds of each loss, their repeats interleaved."""
    seconds: dict[str, list[float]] = {name: [] for name in losses}
    for repeat in range(args.repeats + 1):
        for name, loss in losses.items():
            z, labels = inputs(size, args)
            synchronise(args.device)
            started = time.perf_counter()
            loss(z, labels).backward()
            synchronise(args.device)
            if repeat:
                seconds[name].append(time.perf_counter() - started)
    return {name: 1000 * statistics.median(values) for name, values in seconds.items()}


def peak_of(loss: Loss, size: int, args: argparse.Namespace) -> float:
    """Return the megabytes that one pass takes beyond its inputs; needs a fresh process on the CPU."""
    small, labels = inputs(256, args)
    loss(small, labels).backward()  # libraries load, thread pools start
    z, labels = inputs(size, args)
    if args.device == "cpu":
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")  # Linux: the peak starts anew
        before = peak_kilobytes()
        loss(z, labels).backward()
        return (peak_kilobytes() - before) / 1024
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    loss(z, labels).backward()
    return (torch.cuda.max_memory_allocated() - before) / 2**20


def peak_kilobytes() -> int:
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1])  # type: ignore[index]


def inputs(size: int, args: argparse.Namespace) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(size, DIM, generator=generator).to(args.device).requires_grad_()
    return z, (torch.arange(size) % args.classes).to(args.device)


def synchronise(device: str) -> None:
    if device != "cpu":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
