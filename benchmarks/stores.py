"""What do the stores of images take and feed? Bytes, seconds to build, images/s, memory; at a tenth of the images too.

    python benchmarks/stores.py FOLDER                   # 200,000 images, 9 GB, which stay in FOLDER
    python benchmarks/stores.py FOLDER --images 2000     # in some minutes: does the script itself work?

JPEG files of 500 x 375 pixels and quality 90: octaves of noise and a little grain, so that files of 45 kB shrink as
much as photographs of that size do. Each store is built and read in a process of its own: training views of 128 pixels
as the default recipe makes them, by two loader processes, in shuffled batches (every image once an epoch) and in PK
batches of 16 classes x 8. Memory is the largest that the process, and its larger worker, had at once (resident, with
all that they share).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from benchmarks.process_usage import family  # noqa: E402

from supcon.images.augment.single import RandomView  # noqa: E402
from supcon.images.cache import ImageCache, open_cache  # noqa: E402
from supcon.images.choose import STORES  # noqa: E402
from supcon.images.hashes import content_hashes  # noqa: E402
from supcon.images.store import Store, StoreName  # noqa: E402
from supcon.settings.settings import AugmentSettings  # noqa: E402
from supcon.storage.processes import available_cores  # noqa: E402
from supcon.training.data import TrainingViews  # noqa: E402
from supcon.training.loader import training_loader  # noqa: E402
from supcon.training.sampler import BatchSampler, NaturalSampler, PKSampler  # noqa: E402

HEIGHT, WIDTH, QUALITY = 375, 500, 90
SIDE, WORKERS, CLASSES = 128, 2, 1000
PK = (16, 8)
AUGMENT = AugmentSettings(crop=0.8, color=0.1)
WARM = 5  # batches
A_FOLDER = 10_000  # files
GRAIN, SLOPE = 2.0, 0.6  # standard deviation of the finest noise; an octave has 1 / 2^SLOPE of the one before

Numbers = npt.NDArray[np.int16]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where the files and, one at a time, the stores are written")
    parser.add_argument("--images", type=int, default=200_000, help="files (default: 200,000)")
    parser.add_argument("--seconds", type=float, default=30, help="of reading, for each kind of batch (default: 30)")
    parser.add_argument("--store", choices=STORES, help=argparse.SUPPRESS)  # in the processes that this one starts
    options = parser.parse_args()
    if options.store:
        print(json.dumps(measured(options.folder, options.images, options.store, options.seconds)))
        return
    size = write_images(options.folder, options.images)
    print(f"{options.images:,} files of {size / options.images / 1e3:.1f} kB\n")
    print("| images | store | on disk | of pixels | build | shuffled | PK | memory: process, worker |")
    print("|---|---|---|---|---|---|---|---|")
    for images in (options.images // 10, options.images):
        pixels = 0
        for store in STORES:
            words = [str(options.folder), f"--images={images}", f"--seconds={options.seconds}", f"--store={store}"]
            done = subprocess.run([sys.executable, __file__, *words], stdout=subprocess.PIPE, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            pixels = pixels or row["bytes"]
            print(
                f"| {images:,} | {store} | {row['bytes'] / 1e6:,.1f} MB | 1/{pixels / row['bytes']:.1f} |"
                f" {row['build']:.0f} s | {row['shuffled']:,.0f} images/s | {row['pk']:,.0f} images/s |"
                f" {row['process']:.0f} MB, {row['worker']:.0f} MB |",
                flush=True,
            )


def write_images(folder: Path, images: int) -> int:
    """Write the files that are not there yet, by all cores; return the bytes of all."""
    starts = range(0, images, 500)
    with ProcessPoolExecutor(available_cores()) as pool:
        return sum(pool.map(write_some, [folder] * len(starts), starts, [images] * len(starts)))


def write_some(folder: Path, start: int, images: int) -> int:
    """Write up to 500 files, and return their bytes."""
    written = 0
    for number in range(start, min(start + 500, images)):
        path = path_of(folder, number)
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            jpeg = cv2.imencode(".jpg", picture(number), [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
            path.with_suffix(".part").write_bytes(jpeg.tobytes())
            path.with_suffix(".part").rename(path)
        written += path.stat().st_size
    return written


def path_of(folder: Path, number: int) -> Path:
    """Return the path of a file."""
    return folder / "files" / f"{number // A_FOLDER:03d}" / f"{number:07d}.jpg"


def picture(number: int) -> npt.NDArray[np.uint8]:
    """Return an image that no other number has: a window of each field of noise, from another place, added up."""
    draw = np.random.default_rng(number)
    image = np.full((HEIGHT, WIDTH, 3), draw.integers(70, 180, 3), np.int16)
    for field in fields():
        top, left = (int(draw.integers(0, room + 1)) for room in (field.shape[0] - HEIGHT, field.shape[1] - WIDTH))
        image += field[top : top + HEIGHT, left : left + WIDTH]
    return np.clip(image, 0, 255).astype(np.uint8)


@cache
def fields() -> list[Numbers]:
    """Return noise of octaves of frequencies, [1500, 2000, 3] each, alike in the three colours for the most part."""
    draw, made = np.random.default_rng(0), list[Numbers]()
    for octave in range(9):
        cells = 3 * 2**octave  # over the height of an image
        shape = (-(-cells * 1500 // HEIGHT), -(-cells * 2000 // HEIGHT))
        grey, colours = draw.normal(size=(*shape, 1)), draw.normal(size=(*shape, 3))
        small = ((grey + 0.3 * colours) * 45 / 2 ** (octave * SLOPE)).astype(np.float32)
        made.append(cv2.resize(small, (2000, 1500), interpolation=cv2.INTER_CUBIC).astype(np.int16))
    made.append(draw.normal(0, GRAIN, (1500, 2000, 3)).astype(np.int16))
    return made


def measured(folder: Path, images: int, name: StoreName, seconds: float) -> dict[str, Any]:
    """Return what one store takes and feeds."""
    store = Store(name, 95 if name == "jpeg" else 0)
    files, target = [path_of(folder, number) for number in range(images)], folder / "cache"
    hashes = content_hashes(target, files)
    for leftover in target.glob("images-*"):
        shutil.rmtree(leftover)
    started = time.perf_counter()
    kept = open_cache(target, files, hashes, SIDE, "crop", store=store)
    row: dict[str, Any] = {"build": time.perf_counter() - started}
    row["bytes"] = sum(path.stat().st_size for path in (target / kept.key).iterdir())
    labels = np.arange(images) % min(CLASSES, images // PK[1])
    samplers = {"shuffled": NaturalSampler(images, PK[0] * PK[1], 0), "pk": PKSampler(labels, *PK, seed=0)}
    with peaks() as memory:
        row |= {kind: speed(kept, labels, sampler, seconds) for kind, sampler in samplers.items()}
    shutil.rmtree(target / kept.key)
    return row | memory


def speed(kept: ImageCache, labels: npt.NDArray[np.int64], sampler: BatchSampler, seconds: float) -> float:
    """Return the training views a second that two loader processes make; the first batches do not count."""
    transforms = [RandomView(AUGMENT, SIDE, "crop", 1.0)] * 10_000  # epochs
    views = TrainingViews(kept, np.arange(len(kept)), labels, transforms, 1, seed=0)
    loader, batches, started = training_loader(views, sampler, WORKERS), 0, 0.0
    for epoch in range(len(transforms)):
        sampler.set_epoch(epoch)
        for _ in loader:
            batches += 1
            if batches == WARM:
                started = time.perf_counter()
            elif batches > WARM and time.perf_counter() - started > seconds:
                return (batches - WARM) * sampler.batch_size / (time.perf_counter() - started)
    raise RuntimeError("more epochs than the script has views for")


@contextmanager
def peaks() -> Iterator[dict[str, float]]:
    """Yield what will hold, at the end, the largest megabytes of this process and of a worker."""
    largest, ended = {"process": 0.0, "worker": 0.0}, threading.Event()

    def watch() -> None:
        while not ended.wait(0.2):
            for process in family(os.getpid()):
                kind = "process" if process == os.getpid() else "worker"
                largest[kind] = max(largest[kind], resident(process))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield largest
    finally:
        ended.set()
        watcher.join()


def resident(process: int) -> float:
    """Return the megabytes that a process has in memory."""
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6
    except OSError:  # it has just ended
        return 0.0


if __name__ == "__main__":
    main()
