"""Do small images enter the cache as fast as plain cv2 decodes and resizes them, and in how much memory?

    python benchmarks/images.py                    # 100,000 images
    taskset -c 0 python benchmarks/images.py --images 4000

Half PNG, half JPEG, sides of 32 to 64 pixels, in a temporary folder; training at 32 pixels. "plain" is cv2.imread and
cv2.resize in as many processes, the pixels thrown away. Each round measures both; the ratios are medians of the rounds,
once by the clock (for an idle machine) and once by the processors' time (for a shared one). The peak is that of this
process plus, for each worker, that of the largest one (pages they share count for each).
"""

import argparse
import os
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.images.cache import open_cache  # noqa: E402
from supcon.images.geometry import cached_side, shrunk_size  # noqa: E402
from supcon.images.hashes import content_hashes  # noqa: E402

SIDE, CHUNK = 32, 64
PROCESSES = len(os.sched_getaffinity(0))

Times = tuple[float, float, float]  # seconds: plain, cache, hash and cache


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        files = write_images(Path(folder) / "in", options.images)
        rounds = [measure(Path(folder) / f"cache{number}", files) for number in range(options.rounds)]
    print(f"{options.images:,} images, {PROCESSES} processes; images/s by the clock: plain | cache | hash and cache")
    for (plain, cache, both), _, _ in rounds:
        print(f"{len(files) / plain:,.0f} | {len(files) / cache:,.0f} | {len(files) / both:,.0f}")
    clocks = {"the clock": [row[0] for row in rounds], "the processors' time": [row[1] for row in rounds]}
    for name, times in clocks.items():
        ratio, whole = (statistics.median(seconds[0] / seconds[part] for seconds in times) for part in (1, 2))
        print(f"of plain, by {name}: cache {ratio:.2f}, hash and cache {whole:.2f}")
    print(f"peak memory {rounds[0][2] / 1e9:.2f} GB")


def write_images(folder: Path, count: int) -> list[Path]:
    """Write smooth random images, none like another."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    files = [folder / f"{number}.{'png' if number % 2 else 'jpg'}" for number in range(count)]
    for file in files:
        height, width = draw.integers(32, 65, 2).tolist()
        rough = draw.integers(0, 256, (height // 4, width // 4, 3)).astype(np.uint8)
        cv2.imwrite(str(file), cv2.resize(rough, (width, height), interpolation=cv2.INTER_CUBIC))
    return files


def measure(cache: Path, files: Sequence[Path]) -> tuple[Times, Times, float]:
    """Return the times by the clock, the times of processors, and the peak memory so far, bytes."""
    hashes: list[str] = []
    hashing = seconds(lambda: hashes.extend(content_hashes(cache, files)))
    caching = seconds(lambda: open_cache(cache, files, hashes, SIDE, "crop"))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak += PROCESSES * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    plain = seconds(lambda: decode_plainly([str(file) for file in files]))
    wall, processors = (
        (alone, cached, hashed + cached) for alone, cached, hashed in zip(plain, caching, hashing, strict=True)
    )
    return wall, processors, peak * 1024.0


def decode_plainly(paths: list[str]) -> None:
    with ProcessPoolExecutor(PROCESSES) as pool:
        list(pool.map(decode_and_resize, paths, chunksize=CHUNK))


def decode_and_resize(path: str) -> None:
    image = cv2.imread(path)
    assert image is not None
    height, width = shrunk_size(image.shape[0], image.shape[1], cached_side(SIDE), "crop")
    cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return the seconds by the clock, and of processors, in this process and the children it waited for."""
    started, used = time.perf_counter(), sum(os.times()[:4])
    work()
    return time.perf_counter() - started, sum(os.times()[:4]) - used


if __name__ == "__main__":
    main()
