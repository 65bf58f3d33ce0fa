"""Every image decoded once, into one memory-mapped file of uint8 pixels that all runs share."""

import os
import shutil
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image as PillowImage
from PIL import ImageOps
from tqdm import tqdm

from supcon.artifacts.files import digest, read_npz
from supcon.errors import UserError
from supcon.images.geometry import Fit, Image, shrink

ROOM = 1.15  # the cached side over the training side: room for crops and shifts
_AHEAD = 256  # images decoded ahead of the writer: bounds the memory


class ImageCache:
    """Decoded images by position, read from a memory map (so that worker processes share the pages)."""

    def __init__(self, folder: Path) -> None:
        index = read_npz(folder / "index.npz")
        self._offsets, self._shapes = index["offsets"], index["shapes"]  # [images + 1], [images, 2]
        self._file = folder / "pixels.bin"
        self._pixels: npt.NDArray[np.uint8] | None = None

    def __len__(self) -> int:
        return len(self._shapes)

    def __getitem__(self, position: int) -> Image:
        """Return one image, [height, width, 3] RGB, read-only."""
        if self._pixels is None:  # opened late: once in each process
            self._pixels = np.memmap(self._file, dtype=np.uint8, mode="r")
        height, width = self._shapes[position]
        return self._pixels[self._offsets[position] : self._offsets[position + 1]].reshape(height, width, 3)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_pixels": None}


def open_cache(cache: Path, folder: Path, paths: Sequence[str], images_digest: str, side: int, fit: Fit) -> ImageCache:
    """Open the cache of `folder`'s images for training at `side` pixels, building it when it is not there.

    Images keep their order in `paths`. A build that is killed leaves nothing that a later one would take for whole.
    Raises `UserError` listing files that are no images.
    """
    side = round(side * ROOM)
    here = cache / f"images-{digest([images_digest, list(paths), side, fit])[:16]}"
    if not here.exists():
        partial = here.with_name(f".{here.name}-{os.getpid()}")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        try:
            _build(partial, folder, paths, side, fit)
            if not here.exists():
                partial.rename(here)
        except OSError as error:
            raise UserError(f"{here} could not be written: {error.strerror or error}") from error
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    return ImageCache(here)


def decode(path: Path) -> Image:
    """Decode an image file to RGB: EXIF orientation applied, first frame, transparency on white, 16 bit scaled to 8.

    Raises `UserError` for a file that is truncated, empty or no image.
    """
    try:
        with PillowImage.open(path) as file:
            image = ImageOps.exif_transpose(file)
            if image.mode.startswith(("I", "F")):
                deep = np.asarray(image, dtype=np.float64)
                scale = 257.0 if image.mode.startswith("I") and deep.max(initial=0) > 255 else 1.0
                image = PillowImage.fromarray(np.clip(deep / scale, 0, 255).astype(np.uint8))
            if image.has_transparency_data:
                image = PillowImage.alpha_composite(PillowImage.new("RGBA", image.size, "white"), image.convert("RGBA"))
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:
        raise UserError(f"{path} is not a readable image ({error}): replace it or remove its row") from None


def _build(partial: Path, folder: Path, paths: Sequence[str], side: int, fit: Fit) -> None:
    shapes = np.zeros((len(paths), 2), np.int64)
    bad: list[str] = []
    with (partial / "pixels.bin").open("wb") as file:
        shrunk = _in_order(folder, paths, side, fit)
        for number, image in enumerate(tqdm(shrunk, "decode", len(paths), unit="image", disable=None)):
            if isinstance(image, UserError):
                bad.append(str(image))
            else:
                shapes[number] = image.shape[:2]
                file.write(image.tobytes())
        file.flush()
        os.fsync(file.fileno())
    if bad:
        raise UserError(bad[0] + (f"; and {len(bad) - 1} more: {'; '.join(bad[1:20])}" if len(bad) > 1 else ""))
    offsets = np.concatenate([[0], np.cumsum(shapes.prod(axis=1) * 3)])
    np.savez(partial / "index.npz", offsets=offsets, shapes=shapes)


def _in_order(folder: Path, paths: Sequence[str], side: int, fit: Fit) -> Iterator[Image | UserError]:
    """Decode in parallel, a bounded number ahead, in the order of `paths`."""

    def load(path: str) -> Image | UserError:
        try:
            return shrink(decode(folder / path), side, fit)
        except UserError as error:
            return error

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        rest = iter(paths)
        waiting = [pool.submit(load, path) for path in islice(rest, _AHEAD)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(load, path) for path in islice(rest, 1)]
