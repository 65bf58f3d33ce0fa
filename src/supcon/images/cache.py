"""The cache of decoded images: memory-mapped files of uint8 pixels, which all runs share."""

import hashlib
import shutil
import zlib
from collections.abc import Container, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.errors import UserError
from supcon.images.build import SHARD, How, estimate_bytes, shard_file, write_images
from supcon.images.decode import DECODER
from supcon.images.geometry import FORMATS, Fit, Image, cached_side
from supcon.images.hashes import ABSENT
from supcon.images.reading import DEFAULT, Reading
from supcon.storage import lock
from supcon.storage.files import read_npz, remove_leftovers, write_npz
from supcon.storage.sizes import bytes_text

_REASONS, _LISTED = 10, 5  # why images are bad, and of each reason how many of them, that an error names


class ImageCache:
    """Decoded images by position, read from memory maps, whose pages worker processes share.

    Equal images are written once. An unreadable image is one black pixel, and `problems` says why. When a process first
    reads an image, it compares the checksum: 1 us for 32 x 32 pixels, 7 us for 128 x 128; a random view takes hundreds.
    """

    def __init__(self, folder: Path) -> None:
        index = read_npz(folder / "index.npz")
        self._entries = index["entries"]  # [images]: positions in the arrays over distinct images
        self._offsets, self._shapes = index["offsets"], index["shapes"]  # bytes; height, width
        self.checksums = index.get("checksums")  # [distinct images]; None in a cache of an earlier version
        self._checked = np.zeros(len(self._offsets), bool)
        self._index = index
        self.key = folder.name  # caches with equal keys have equal pixels
        self._folder = folder
        self._pixels: dict[int, npt.NDArray[np.uint8]] = {}  # files opened so far
        for number, length in enumerate(index["shards"].tolist()):
            file = shard_file(folder, number)
            if not file.exists() or file.stat().st_size != length:
                raise UserError(f"{file} is missing or damaged: delete {folder} and start again")

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: int) -> Image:
        """Return one image, [height, width, 3] RGB, read-only. Raises `UserError` where its pixels are damaged."""
        entry = self._entries[position]
        height, width = self._shapes[entry]
        number, offset = divmod(int(self._offsets[entry]), SHARD)
        if number not in self._pixels:  # opened at the first use, in each process
            self._pixels[number] = np.memmap(shard_file(self._folder, number), dtype=np.uint8, mode="r")
        pixels = self._pixels[number][offset : offset + int(height) * int(width) * 3]
        if not self._checked[entry]:
            self._check(entry, number, pixels)
        return pixels.reshape(height, width, 3)

    def _check(self, entry: int, number: int, pixels: npt.NDArray[np.uint8]) -> None:
        if self.checksums is not None and zlib.crc32(pixels.data) != self.checksums[entry]:
            raise UserError(
                f"{shard_file(self._folder, number)} is damaged (image {entry:,}): delete {self._folder}, and the next"
                " command decodes the images anew"
            )
        self._checked[entry] = True

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

    def fact(self, name: str) -> npt.NDArray[Any]:
        """Of each image's file: its "bands" (3 of a grey JPEG or PNG), its "frames", the "scales" of its numbers and
        their "depths" in bytes; 0 for an unreadable image."""
        return self._index[name][self._entries]


def open_cache(
    cache: Path, files: Sequence[Path], hashes: Sequence[str], side: int, fit: Fit, reading: Reading = DEFAULT
) -> ImageCache:
    """Open the cache of images for training at `side` pixels; build it where there is none, or a damaged one.

    Images keep their order in `files`. The cache is identified by `hashes`, the content hashes of the files, by `side`,
    `fit` and `reading`. A killed build leaves no cache that seems whole; another process waits for the first's build.
    Unreadable images do not stop a build: see `require_readable`. Raises `UserError` where the disk has no room, the
    cache cannot be written or a file cannot be opened; then nothing is left behind.
    """
    side = cached_side(side)
    folder = cache / f"images-{_key(hashes, side, fit, reading)}"
    if (images := _opened(folder)) is not None:
        return images
    entries = pd.factorize(np.asarray(hashes, dtype=object))[0]
    firsts = np.unique(entries, return_index=True)[1].tolist()
    paths = [hashes[first] if hashes[first].startswith(ABSENT) else str(files[first]) for first in firsts]
    needed = estimate_bytes(paths, side, fit)
    _require_room(cache, len(paths), needed)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with lock.alone(cache / ".images.lock", f"images: {cache}"):
            remove_leftovers(cache)
            for leftover in cache.glob(".images-*"):  # of a killed process
                shutil.rmtree(leftover, ignore_errors=True)
            if _opened(folder) is None:
                if folder.exists():
                    print(f"images: {folder} is damaged: it is made anew", flush=True)
                shutil.rmtree(folder, ignore_errors=True)
                print(f"images: {len(paths):,} to decode into {cache}, at most {bytes_text(needed)}", flush=True)
                _build(folder, entries, paths, (side, fit, reading))
    except OSError as error:
        raise UserError(f"{cache} could not be written: {error.strerror or error}") from error
    return ImageCache(folder)


def _opened(folder: Path) -> ImageCache | None:
    """Return the cache in `folder`; None where there is none, or a damaged one."""
    try:
        return ImageCache(folder) if folder.exists() else None
    except (UserError, KeyError):
        return None


def require_readable(images: ImageCache, files: Sequence[Path], exempt: Container[int] = ()) -> None:
    """Raise `UserError` listing the files, but at `exempt` positions, that could not be decoded, why, and the cure."""
    problems = {position: reason for position, reason in images.problems.items() if position not in exempt}
    if problems:
        subject = "1 image cannot" if len(problems) == 1 else f"{len(problems):,} images cannot"
        by_reason: dict[str, list[int]] = {}
        for position, reason in problems.items():
            by_reason.setdefault(reason, []).append(position)
        parts = [f"{_first(files, positions)} ({reason})" for reason, positions in by_reason.items()]
        listed = "; ".join(parts[:_REASONS] + ["..."] * (len(parts) > _REASONS))
        raise UserError(f"{subject} be read: {listed}: replace them, or leave them out with --data.bad_images skip")


def _first(files: Sequence[Path], positions: Sequence[int]) -> str:
    """Return the names of the first files at these positions, and how many more there are."""
    names = [str(files[position]) for position in positions[:_LISTED]]
    more = f" and {len(positions) - _LISTED:,} more" if len(positions) > _LISTED else ""
    return ", ".join(names) + more


def _key(hashes: Sequence[str], side: int, fit: Fit, reading: Reading) -> str:
    key = hashlib.sha256(f"{DECODER} shards {side} {fit}{reading.key}".encode())
    for content_hash in hashes:
        key.update(content_hash.encode())
    return key.hexdigest()[:16]


def _require_room(cache: Path, images: int, needed: int) -> None:
    existing = next(folder for folder in (cache.absolute(), *cache.absolute().parents) if folder.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise UserError(
            f"{cache} has {bytes_text(free)} free, and {images:,} decoded images may take {bytes_text(needed)}:"
            " make room, lower --data.image_size, or make cache a link to a larger disk"
        )


def _build(folder: Path, entries: npt.NDArray[np.int64], paths: Sequence[str], how: How) -> None:
    partial = folder.with_name(f".{folder.name}")
    partial.mkdir()
    try:
        index = write_images(partial, paths, how)
        write_npz(partial / "index.npz", {"entries": entries.astype(np.int32), **index})
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
