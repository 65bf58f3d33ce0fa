"""Memory and images/s of training an encoder: as it is, with checkpointing, with LoRA, with its first groups frozen.

python benchmarks/large_encoders.py [encoder ...] [--batch 32] [--threads 2]

Each way trains in processes of its own. The memory of the tensors is what a GPU would need beside the weights:
gradients, the optimizer's averages, what is kept for the way back. It is the peak memory of a process less that before
the first step, where each large tensor is given back as it is freed. A training process has more: it keeps what is
freed for reuse. images/s are medians of the steps after the first two. The ways take turns, twice.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, cast

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

WAYS: dict[str, dict[str, Any]] = {
    "all weights": {},
    "checkpointing": {"checkpointing": True},
    "LoRA, rank 8": {"lora_rank": 8},
    "LoRA and checkpointing": {"lora_rank": 8, "checkpointing": True},
    "first half frozen": {"frozen_groups": -2},
}
STEPS, WARM = 6, 2
MAPPED = {"MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_ARENA_MAX": "1"}  # glibc returns what is freed


def main() -> None:
    """Print a table an encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", default=["vit_small_patch16_224", "tf_efficientnet_lite0"])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--side", type=int, default=224)
    parser.add_argument("--way", default="", help=argparse.SUPPRESS)
    parser.add_argument("--mapped", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.encoders[0], options.way, options)))
        return
    for encoder in options.encoders:
        print(f"\n{encoder}, {options.side} pixels, batch {options.batch}, {options.threads} threads\n")
        print("| way | trained weights | tensors, MB | process, MB | images/s |\n|---|---|---|---|---|")
        results: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
        for _ in range(2):
            for way in WAYS:
                words = [sys.executable, __file__, encoder, "--way", way, "--batch", str(options.batch)]
                words += ["--threads", str(options.threads), "--side", str(options.side)]
                training, mapped = _result(words, {}), _result([*words, "--mapped"], MAPPED)
                results[way].append({**training, "tensors": mapped["memory"]})
        for way, runs in results.items():
            tensors, process, speed = (
                statistics.median(run[name] for run in runs) for name in ("tensors", "memory", "speed")
            )
            memory = f"{tensors / 1e6:,.0f} | {process / 1e6:,.0f}"
            print(f"| {way} | {runs[0]['trained'] / 1e6:.2f} million | {memory} | {speed:.1f} |", flush=True)


def _result(words: list[str], variables: dict[str, str]) -> dict[str, float]:
    done = subprocess.run(words, check=True, capture_output=True, text=True, env={**os.environ, **variables})
    return dict(json.loads(done.stdout.splitlines()[-1]))


def measure(name: str, way: str, options: argparse.Namespace) -> dict[str, float]:
    """Train some steps with AdamW; return trained weights, peak bytes beside what was there before, images/s."""
    import torch

    from supcon.settings.settings import MachineSettings, ModelSettings
    from supcon.training.device import set_up_device
    from supcon.training.model.encoder import Encoder
    from supcon.training.model.lora import add_lora
    from supcon.training.model.timm_import import timm
    from supcon.training.optimizer import encoder_groups

    if options.mapped:
        torch.set_num_threads(options.threads)
    else:
        set_up_device(MachineSettings(device="cpu", threads=options.threads))
    torch.manual_seed(0)
    settings = dict(WAYS[way])
    if settings.get("frozen_groups") == -2:
        backbone = timm.create_model(name, num_classes=0)
        groups = timm.models.group_parameters(backbone, cast(Any, backbone).group_matcher(coarse=True))
        settings["frozen_groups"] = len(set(groups)) // 2
    rank = settings.pop("lora_rank", 0)
    model = ModelSettings(encoder=name, pretrained=False, **settings)
    encoder = Encoder(model, options.side, load_weights=False)
    if rank:
        add_lora(encoder.backbone, rank)
    encoder.train()
    groups = [group for group in encoder_groups(encoder.backbone, 1e-4, 1.0, 0.05) if group["params"]]
    optimizer = torch.optim.AdamW(groups, lr=1e-4)
    views = torch.randint(0, 256, (options.batch, options.side, options.side, 3), dtype=torch.uint8)
    before, seconds = _peak(), []
    for _ in range(STEPS):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        encoder(views).square().mean().backward()
        optimizer.step()
        seconds.append(time.perf_counter() - started)
    trained = sum(weight.numel() for weight in encoder.parameters() if weight.requires_grad)
    speed = options.batch / statistics.median(seconds[WARM:])
    return {"trained": trained, "memory": _peak() - before, "speed": speed}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024.0


if __name__ == "__main__":
    main()
