"""Does the search for near-duplicates stay linear, whatever the images? Images a second and peak memory against N.

    python benchmarks/duplicates.py             # --largest 10000 for a look at the hashes

First the search alone, among hashes of seven views: "unrelated" are uniform, "one" are all equal, and "crowd" lie
within 3 bits of one hash. Then everything, from pixels to pairs, on synthetic pictures; those of "one outline" share
nearly all that a hash sees and are no copies.
"""

import argparse
import resource
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.images.duplicates import near_duplicates  # noqa: E402
from supcon.images.geometry import Image  # noqa: E402
from supcon.images.perceptual import VIEWS, HashIndex  # noqa: E402

CHUNK, RADIUS = 2048, 5
KINDS = {"unrelated": 1_000_000, "one": 1_000_000, "crowd": 100_000}
PICTURES = {"unrelated": 4000, "black": 100_000, "equal": 100_000, "one picture, noisy": 2000, "one outline": 2000}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--largest", type=int, default=1_000_000)
    largest = parser.parse_args().largest
    print("| hashes | N | s | images/s | found an image | peak MB |\n|---|---|---|---|---|---|")
    for count in (10_000, 100_000, 1_000_000):
        for kind, most in KINDS.items():
            if count <= min(most, largest):
                seconds, near_count = search(hashes_of(kind, count))
                row = f"{kind} | {count:,} | {seconds:.1f} | {count / seconds:,.0f} | {near_count / count:.1f}"
                print(f"| {row} | {peak():,.0f} |", flush=True)
    print("\n| images | N | s | images/s | pairs |\n|---|---|---|---|---|")
    for kind, most in PICTURES.items():
        for count in (most // 4, most):
            pictures = [picture(kind, number) for number in range(count)]
            started = time.process_time()
            pairs = near_duplicates(pictures)
            seconds = time.process_time() - started
            print(f"| {kind} | {count:,} | {seconds:.1f} | {count / seconds:,.0f} | {len(pairs):,} |", flush=True)


def hashes_of(kind: str, count: int) -> npt.NDArray[np.uint64]:
    """Return hashes [count, VIEWS]."""
    draw = np.random.default_rng(0)
    if kind == "unrelated":
        return draw.integers(0, 2**64, (count, VIEWS), dtype=np.uint64)
    flips = np.zeros((count, VIEWS), np.uint64)
    for _ in range(3 if kind == "crowd" else 0):
        flips ^= np.uint64(1) << draw.integers(0, 64, (count, VIEWS), dtype=np.uint64)
    return flips ^ np.uint64(0x123456789ABCDEF0)


def search(hashes: npt.NDArray[np.uint64]) -> tuple[float, int]:
    """Return the seconds for the index and all its queries, and how many it found."""
    started = time.process_time()  # on a shared machine the clock on the wall shows the neighbours
    index = HashIndex(hashes[:, 0])
    near_count = sum(len(index.near(hashes[start : start + CHUNK], RADIUS)) for start in range(0, len(hashes), CHUNK))
    return time.process_time() - started, near_count


def picture(kind: str, number: int) -> Image:
    """Return an image of a kind: 32 pixels when all are black or equal, else 128."""
    side = 32 if kind in ("black", "equal") else 128
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    shared = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    if kind == "equal":
        return np.asarray(shared, np.uint8)
    draw = np.random.default_rng(number)
    if kind == "black":  # all but: no two are equal
        black = np.zeros((side, side, 3), np.uint8)
        black.ravel()[draw.integers(0, black.size, 4)] = 3
        return black
    grain = {"unrelated": 8, "one picture, noisy": side, "one outline": 24}[kind]
    share, strength = {"unrelated": (0, 60), "one picture, noisy": (1, 8), "one outline": (1, 20)}[kind]
    own = cv2.resize(draw.normal(0, strength, (grain, grain, 3)), (side, side), interpolation=cv2.INTER_CUBIC)
    return np.clip(shared * float(share) + 128 * (1 - share) + own, 0, 255).astype(np.uint8)


def peak() -> float:
    """Return the largest resident size so far, in MB; it holds 60 MB of libraries and the 56 bytes a row of input."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
