"""What does an epoch's plan cost? Seconds (of the processor) of building a PK sampler and of planning epochs.

    python benchmarks/sampler.py

P = 64, K = 4; class sizes fall off as 1 / rank^0.8 and no class is empty. "epoch 100" is the first one asked for: what
resuming there costs.
"""

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.training.sampler import PKSampler  # noqa: E402

Made = TypeVar("Made")

SIZES = ((800, 40_000), (80_000, 4_000_000))  # classes, rows


def main() -> None:
    print("| balance | data | build, s | epoch 0, s | epoch 1, s | epoch 100, s |")
    print("|---|---|---|---|---|---|")
    for balance in (0.0, 0.5, 1.0):
        for classes, rows in SIZES:
            numbers = " | ".join(f"{seconds:.2f}" for seconds in measure(long_tail(classes, rows), balance))
            print(f"| {balance:g} | {classes:,} x {rows:,} | {numbers} |", flush=True)


def long_tail(classes: int, rows: int) -> npt.NDArray[np.int64]:
    """Return shuffled labels [rows] of a long-tailed data set."""
    shares = (np.arange(classes) + 1) ** -0.8
    sizes = np.floor(shares / shares.sum() * (rows - classes)).astype(np.int64) + 1
    sizes[0] += rows - sizes.sum()
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), sizes))


def measure(labels: npt.NDArray[np.int64], balance: float) -> list[float]:
    """Return the seconds to build a sampler, to plan its epochs 0 and 1, and epoch 100 of another one."""
    sampler, build = timed(lambda: PKSampler(labels, 64, 4, seed=0, balance=balance))
    plans = [timed(partial(sampler.rows_of, epoch, 0))[1] for epoch in (0, 1)]
    resumed = PKSampler(labels, 64, 4, seed=0, balance=balance)
    return [build, *plans, timed(lambda: resumed.rows_of(100, 0))[1]]


def timed(make: Callable[[], Made]) -> tuple[Made, float]:
    """Return what is made, and the seconds it took."""
    started = time.process_time()  # on a shared machine the clock on the wall shows the neighbours
    return make(), time.process_time() - started


if __name__ == "__main__":
    main()
