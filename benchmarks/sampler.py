"""Does a batch cost the same whatever the data set? Microseconds (of the processor) of a PK batch at two sizes.

    python benchmarks/sampler.py

P = 64, K = 4; class sizes fall off as 1 / rank^0.8 and no class is empty. "in order" are successive batches; "first
touch" are batches at random places of the first 1000 epochs, none of them near another: what resuming costs.
"""

import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.arrays import Labels  # noqa: E402
from supcon.training.sampler import PKSampler  # noqa: E402

SIZES = {"small": (800, 40_000), "large": (80_000, 4_000_000)}  # classes, rows
BATCHES = 2000


def main() -> None:
    print("| balance | data | build, s | in order, us: median | worst | first touch, us: median | worst |")
    print("|---|---|---|---|---|---|---|")
    for balance in (0.0, 0.5, 1.0):
        results = {name: measure(long_tail(*size), balance) for name, size in SIZES.items()}
        for name, (classes, rows) in SIZES.items():
            build, *microseconds = results[name]
            numbers = " | ".join(f"{number:.0f}" for number in microseconds)
            print(f"| {balance:g} | {classes:,} x {rows:,} | {build:.2f} | {numbers} |")
        ratios = " | ".join(f"{b / a:.2f}" for a, b in zip(results["small"], results["large"], strict=True))
        print(f"| {balance:g} | ratio | {ratios} |", flush=True)


def long_tail(classes: int, rows: int) -> Labels:
    """Return shuffled labels [rows] of a long-tailed data set."""
    shares = (np.arange(classes) + 1) ** -0.8
    sizes = np.floor(shares / shares.sum() * (rows - classes)).astype(np.int64) + 1
    sizes[0] += rows - sizes.sum()
    return np.random.default_rng(0).permutation(np.repeat(np.arange(classes), sizes))


def measure(labels: Labels, balance: float) -> list[float]:
    """Return seconds to build, and median and worst microseconds a batch, in order and at random places."""
    started = time.perf_counter()
    sampler = PKSampler(labels, 64, 4, seed=0, balance=balance)
    build = time.perf_counter() - started
    places = np.random.default_rng(0).integers(0, 1000 * len(sampler), BATCHES)
    return [build, *timed(sampler, range(BATCHES)), *timed(sampler, places.tolist())]


def timed(sampler: PKSampler, numbers: list[int] | range) -> list[float]:
    """Return the median and the worst microseconds of the batches of these numbers."""
    microseconds = []
    for number in numbers:
        started = time.process_time()  # on a shared machine the clock on the wall shows the neighbours
        sampler.rows_of(0, number)
        microseconds.append((time.process_time() - started) * 1e6)
    return [float(np.median(microseconds)), max(microseconds)]


if __name__ == "__main__":
    main()
