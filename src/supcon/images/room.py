"""Which store fits on the disk: what each takes there, and what it costs to read, by a sample of the images."""

import math
import shutil
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from supcon.errors import UserError
from supcon.images.geometry import Unreadable, shrunk_size
from supcon.images.pillow import declared_size
from supcon.images.store import How, Store
from supcon.storage.sizes import bytes_text

_HEADERS = 256  # that the bytes of pixels are estimated by
_IMAGES, _LEAST, _SECONDS = 64, 4, 1.0  # decoded for the bytes of JPEG and the time of decoding: so many, or so long
_LARGER = "make room, lower --data.image_size, make cache a link to a larger disk, or use --data.store"
KEPT = {"pixels": "decoded images", "jpeg": "JPEG images", "files": "images"}  # what lies in a store
_WORDS = {"pixels": "pixels", "jpeg": "JPEG"}
_CURES = {"pixels": f"{_LARGER} jpeg or files", "jpeg": f"{_LARGER} files"}


@dataclass(frozen=True)
class Cost:
    """What a sample of images takes."""

    sizes: list[int]  # bytes kept of each
    seconds: float  # to make one ready for its views, the mean

    @property
    def text(self) -> str:
        """The time, and how many images a second that is at most."""
        return f"takes {1000 * self.seconds:.2g} ms, so that a core feeds at most {1 / self.seconds:,.0f} images/s"


def cost_of(paths: Sequence[str], how: How) -> Cost:
    """Decode, pack and unpack a sample of at most 64 images: a second's work, or four where these take longer."""
    sizes, seconds, began = list[int](), list[float](), time.monotonic()
    for path in _sample(paths, _IMAGES):
        if len(seconds) >= _LEAST and time.monotonic() - began > _SECONDS:
            break
        try:
            started = time.perf_counter()
            image = how.read(path).image
            if how.store.name != "files":
                kept = how.store.pack(image)
                started = time.perf_counter()
                how.store.unpack(kept, *image.shape[:2])
                sizes.append(len(kept))
            seconds.append(time.perf_counter() - started)
        except (Unreadable, UserError):  # absent ones, too: who builds the cache tells it
            continue
    return Cost(sizes or [0], float(np.mean(seconds or [1e-6])))


def estimate_bytes(paths: Sequence[str], how: How) -> int:
    """Return the bytes that a store keeps of the images at most; of many it is a sample's mean plus three errors."""
    if how.store.name == "files":
        return 0
    if how.store.name == "jpeg":
        return _at_most(cost_of(paths, how).sizes, len(paths))
    sample = _sample(paths, _HEADERS)
    return _at_most(
        [3 * math.prod(shrunk_size(*declared_size(path), how.side, how.fit)) for path in sample], len(paths)
    )


def free_bytes(cache: Path) -> int:
    """Return the bytes that are free where the cache is, or will be."""
    existing = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    return shutil.disk_usage(existing).free


def require_room(cache: Path, images: int, needed: int, store: Store) -> None:
    """Raise `UserError`, with the cures, where the disk has no room for a store of so many bytes."""
    if needed > (free := free_bytes(cache)):
        raise UserError(
            f"{cache} has {bytes_text(free)} free, and {images:,} {KEPT[store.name]} may take {bytes_text(needed)}:"
            f" {_CURES[store.name]}"
        )


def first_that_fits(cache: Path, paths: Sequence[str], ways: Sequence[tuple[How, Sequence[How]]]) -> int:
    """Return the number of the first of `ways` that fits into half of the free disk; the last one always does.

    A way has the `How` of training, and those of the sizes that are not there yet. Where it is not the first, a line
    says why, and the cost.
    """
    free, too_large = free_bytes(cache), list[str]()
    for number, (how, lacking) in enumerate(ways):
        needed = sum(estimate_bytes(paths, missing) for missing in lacking)
        if 2 * needed <= free or number == len(ways) - 1:
            break
        too_large.append(f"{_WORDS[how.store.name]} ({bytes_text(needed)})")
    if too_large:
        size = f", {bytes_text(needed)}" if needed else ""
        kept = {"pixels": "kept as pixels", "jpeg": f"kept as JPEG of quality {how.store.quality}{size}"}
        print(
            f"images: {kept.get(how.store.name, 'read from their files at each use')}, since"
            f" {' and '.join(too_large)} would take more than half of the {bytes_text(free)} free; decoding one"
            f" {cost_of(paths, how).text}",
            flush=True,
        )
    return number


def _sample(paths: Sequence[str], count: int) -> Sequence[str]:
    return paths[:: -(-len(paths) // count)] if paths else []


def _at_most(sizes: Sequence[float], count: int) -> int:
    """Return what `count` images take by the `sizes` of a sample of them."""
    known = np.array(sizes, np.float64)
    if len(known) < 2 or len(known) >= count:
        return int(known.mean() * count) if len(known) else 0
    return int(count * (known.mean() + 3 * known.std(ddof=1) / len(known) ** 0.5))
