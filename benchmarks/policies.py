"""What does `augment.policy` cost? Views a second of one process, with a crop and a flip alone and with each policy.

python benchmarks/policies.py
"""

import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.images.augment.single import RandomView  # noqa: E402
from supcon.images.geometry import Image, cached_side  # noqa: E402
from supcon.settings.settings import AugmentSettings  # noqa: E402

POLICIES = ("none", "randaugment", "trivialaugment", "augmix")
SECONDS, REPEATS = 1.0, 5  # the median of so many times so long is told


def main() -> None:
    torch.set_num_threads(1)  # as loader processes have
    print("| views/s | " + " | ".join(POLICIES) + " |\n|---|" + "---|" * len(POLICIES))
    for side in (32, 128, 224):
        coarse = np.random.default_rng(0).integers(0, 256, (9, 9, 3)).astype(np.uint8)
        image: Image = np.asarray(cv2.resize(coarse, (cached_side(side),) * 2), dtype=np.uint8)
        rates = [f"{np.median([rate(policy, image, side) for _ in range(REPEATS)]):,.0f}" for policy in POLICIES]
        print(f"| {side} px | " + " | ".join(rates) + " |", flush=True)


def rate(policy: Any, image: Image, side: int) -> float:
    make = RandomView(AugmentSettings(crop=0.8, policy=policy), side, "crop", 1.0)
    views, started = 0, time.perf_counter()
    while time.perf_counter() - started < SECONDS:
        make(image, views)
        views += 1
    return views / (time.perf_counter() - started)


if __name__ == "__main__":
    main()
