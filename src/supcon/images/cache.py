"""The cache of decoded images: memory-mapped files of uint8 pixels, which all runs share."""

import hashlib
import shutil
from collections.abc import Container, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.errors import UserError
from supcon.images.build import SHARD, estimate_bytes, shard, write_images
from supcon.images.decode import DECODER
from supcon.images.geometry import Fit, Image, cached_side
from supcon.images.headers import FORMATS
from supcon.storage import lock
from supcon.storage.files import read_npz, write_npz

_LISTED = 20  # bad images that an error names


class ImageCache:
    """Decoded images by position, read from memory maps, whose pages worker processes share.

    Equal images are written once. An unreadable image is one black pixel, and `problems` says why.
    """

    def __init__(self, folder: Path) -> None:
        index = read_npz(folder / "index.npz")
        self._entries = index["entries"]  # [images]: positions in the arrays over distinct images
        self._offsets, self._shapes = index["offsets"], index["shapes"]  # bytes; height, width
        self._index = index
        self.key = folder.name  # caches with equal keys have equal pixels
        self._folder = folder
        self._pixels: dict[int, npt.NDArray[np.uint8]] = {}  # files opened so far
        for number, length in enumerate(index["shards"].tolist()):
            file = shard(folder, number)
            if not file.exists() or file.stat().st_size != length:
                raise UserError(f"{file} is missing or damaged: delete {folder} and start again")

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: int) -> Image:
        """Return one image, [height, width, 3] RGB, read-only."""
        entry = self._entries[position]
        height, width = self._shapes[entry]
        number, offset = divmod(int(self._offsets[entry]), SHARD)
        if number not in self._pixels:  # opened at the first use, in each process
            self._pixels[number] = np.memmap(shard(self._folder, number), dtype=np.uint8, mode="r")
        pixels = self._pixels[number][offset : offset + int(height) * int(width) * 3]
        return pixels.reshape(height, width, 3)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_pixels": {}}

    @cached_property
    def problems(self) -> dict[int, str]:
        """The positions of images that could not be decoded, with the reason (without the path)."""
        reasons = dict(zip(self._index["bad"].tolist(), self._index["reasons"].tolist(), strict=True))
        positions = np.flatnonzero(np.isin(self._entries, self._index["bad"]))
        return {int(position): reasons[int(self._entries[position])] for position in positions}

    @property
    def bytes(self) -> int:
        """The bytes of all pixels on disk."""
        return int(self._index["shards"].sum())

    @property
    def formats(self) -> npt.NDArray[np.str_]:
        """Each image's format, as in `FORMATS`; empty for an unreadable image."""
        return np.array([*FORMATS, ""])[self._index["formats"][self._entries]]

    @property
    def sizes(self) -> npt.NDArray[np.int32]:
        """Each image's width and height in its file, after turning it upright; zeros for an unreadable image."""
        return self._index["sizes"][self._entries]


def open_cache(cache: Path, files: Sequence[Path], hashes: Sequence[str], side: int, fit: Fit) -> ImageCache:
    """Open the cache of images for training at `side` pixels; build it where there is none.

    Images keep their order in `files`. The cache is identified by `hashes`, the content hashes of the files, by `side`
    and by `fit`. A killed build leaves no cache that seems whole, and a second process waits for the first one's build.
    Unreadable images do not stop a build: see `require_readable`. Raises `UserError` where the disk has no room, the
    cache cannot be written or a file cannot be opened; then nothing is left behind.
    """
    side = cached_side(side)
    folder = cache / f"images-{_key(hashes, side, fit)}"
    if not folder.exists():
        entries = pd.factorize(np.asarray(hashes, dtype=object))[0]
        paths = [str(files[first]) for first in np.unique(entries, return_index=True)[1]]
        needed = estimate_bytes(paths, side, fit)
        _require_room(cache, len(paths), needed)
        try:
            cache.mkdir(parents=True, exist_ok=True)
            with lock.alone(cache / ".images.lock", f"images: {cache}"):
                for leftover in cache.glob(".images-*"):  # of a killed process
                    shutil.rmtree(leftover, ignore_errors=True)
                if not folder.exists():
                    print(f"images: {len(paths):,} to decode into {cache}, at most {needed / 1e9:.3g} GB", flush=True)
                    _build(folder, entries, paths, side, fit)
        except OSError as error:
            raise UserError(f"{cache} could not be written: {error.strerror or error}") from error
    return ImageCache(folder)


def require_readable(images: ImageCache, files: Sequence[Path], exempt: Container[int] = ()) -> None:
    """Raise `UserError` listing the files that could not be decoded, with reasons and the cure.

    The images at positions in `exempt` may be unreadable.
    """
    problems = {position: reason for position, reason in images.problems.items() if position not in exempt}
    bad = [f"{files[position]} ({reason})" for position, reason in problems.items()]
    if bad:
        subject = "1 image cannot" if len(bad) == 1 else f"{len(bad):,} images cannot"
        rest = [f"and {len(bad) - _LISTED:,} more"] if len(bad) > _LISTED else []
        listed = ", ".join([*bad[:_LISTED], *rest])
        raise UserError(f"{subject} be read: {listed}: replace them, or leave them out with --data.bad_images skip")


def _key(hashes: Sequence[str], side: int, fit: Fit) -> str:
    key = hashlib.sha256(f"{DECODER} shards {side} {fit}".encode())
    for content_hash in hashes:
        key.update(content_hash.encode())
    return key.hexdigest()[:16]


def _require_room(cache: Path, images: int, needed: int) -> None:
    existing = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"{cache} has {free / 1e9:.3g} GB free, and {images:,} decoded images may take {needed / 1e9:.3g} GB:"
            " make room, lower --data.image_size, or make cache a link to a larger disk"
        )


def _build(folder: Path, entries: npt.NDArray[np.int64], paths: Sequence[str], side: int, fit: Fit) -> None:
    partial = folder.with_name(f".{folder.name}")
    partial.mkdir()
    try:
        index = write_images(partial, paths, side, fit)
        write_npz(partial / "index.npz", {"entries": entries.astype(np.int32), **index})
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
