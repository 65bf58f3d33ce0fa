"""The cache of images, which all runs share: an index, and what its store keeps of them (`store.py`)."""

import hashlib
import shutil
import zlib
from collections.abc import Container, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.errors import UserError
from supcon.images.build import BLACK, write_images
from supcon.images.decode import DECODER
from supcon.images.geometry import FORMATS, Fit, Image, cached_side
from supcon.images.hashes import ABSENT
from supcon.images.host_files import HostFiles, Names, names_in, names_of, same_names
from supcon.images.reading import DEFAULT, Reading
from supcon.images.room import estimate_bytes, require_room
from supcon.images.shards import Bytes, Shards
from supcon.images.store import PIXELS, How, Store, StoreName, how_from
from supcon.storage import lock
from supcon.storage.files import read_npz, remove_leftovers, whole_folder, write_npz
from supcon.storage.sizes import bytes_text

_REASONS, _LISTED = 10, 5  # why images are bad, and of each reason how many of them, that an error names


class ImageCache:
    """Images by position, as views are made of them. What is kept of them is read, or they are decoded, at each access.

    Equal images are kept once. An unreadable image is one black pixel, and `problems` says why. When a process first
    reads an image, it compares the checksum: 1 us for 32 x 32 pixels, 7 us for 128 x 128; a random view takes hundreds.
    """

    def __init__(self, folder: Path, names: Names | None = None) -> None:
        """Open the cache in `folder`; `names` are the host's files where they are, if these have moved since."""
        index = read_npz(folder / "index.npz")
        self._entries = index["entries"]  # [images]: positions in the arrays over distinct images
        self._offsets, self._shapes = index["offsets"], index["shapes"]  # bytes; height, width
        self._lengths = index.get("lengths", self._shapes.prod(axis=1) * 3)  # bytes; of pixels in an earlier version
        self.checksums = index.get("checksums")  # [distinct images]; None in a cache of an earlier version
        self._checked = np.zeros(len(self._offsets), bool)
        self._index = index
        self._store = how_from(str(index["how"])).store if "how" in index else PIXELS
        self.key = folder.name  # caches with equal keys have equal pixels
        self.images_key = str(index.get("images", folder.name))  # the key of the same images' pixels
        self._folder = folder
        self._files = None
        if self._store.name == "files":
            self._files = HostFiles(**(names or names_in(index)), how=how_from(str(index["how"])))
        self._shards = Shards(folder, self._store.name, index["shards"].tolist())

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: int) -> Image:
        """Return one image, [height, width, 3] RGB, read-only.

        Raises `UserError` where what is kept of it is damaged, or the host's file is another one or gone.
        """
        entry = int(self._entries[position])
        if self._files:
            readable = self._index["formats"][entry] >= 0
            return self._files.image(entry, int(self._index["checksums"][entry])) if readable else BLACK
        height, width = self._shapes[entry]
        kept = self._shards.read(int(self._offsets[entry]), int(self._lengths[entry]))
        if not self._checked[entry] or len(kept) < self._lengths[entry]:
            self._check(entry, kept)
        return self._store.unpack(kept, int(height), int(width))

    def _check(self, entry: int, kept: Bytes) -> None:
        same = self.checksums is None or zlib.crc32(kept.data) == self.checksums[entry]
        if not same or len(kept) < self._lengths[entry]:
            raise UserError(
                f"{self._shards.file(int(self._offsets[entry]))} is damaged (image {entry:,}): delete {self._folder},"
                " and the next command decodes the images anew"
            )
        self._checked[entry] = True

    @cached_property
    def problems(self) -> dict[int, str]:
        """The positions of images that could not be decoded, with the reason (without the path)."""
        reasons = dict(zip(self._index["bad"].tolist(), self._index["reasons"].tolist(), strict=True))
        positions = np.flatnonzero(np.isin(self._entries, self._index["bad"]))
        return {int(position): reasons[int(self._entries[position])] for position in positions}

    @property
    def kept_as(self) -> StoreName:
        """What is kept of the images: pixels, JPEG, or nothing but the index of the host's files."""
        return self._store.name

    @property
    def bytes(self) -> int:
        """The bytes of all that is kept of the images on disk."""
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
    cache: Path,
    files: Sequence[Path],
    hashes: Sequence[str],
    side: int,
    fit: Fit,
    reading: Reading = DEFAULT,
    store: Store = PIXELS,
) -> ImageCache:
    """Open the cache of images for training at `side` pixels; build it where there is none, or a damaged one.

    Images keep their order in `files`. The cache is identified by `hashes`, the content hashes of the files, by `side`,
    `fit`, `reading` and `store`. A killed build leaves no cache that seems whole; another process waits for the first's
    build. Unreadable images do not stop a build: see `require_readable`. Raises `UserError` where the disk has no room,
    the cache cannot be written or a file cannot be opened; then nothing is left behind.
    """
    how = How(cached_side(side), fit, reading, store)
    folder = cache_folder(cache, hashes, how)
    names = names_of(distinct(files, hashes)[1]) if store.name == "files" else None
    if (images := _opened(folder, names)) is not None:
        return images
    entries, paths = distinct(files, hashes)
    needed = estimate_bytes(paths, how)
    require_room(cache, len(paths), needed, store)
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with building(cache):
            remove_leftovers(cache)
            for leftover in cache.glob(".images-*"):  # of a killed process
                shutil.rmtree(leftover, ignore_errors=True)
            if _opened(folder, names) is None:
                if folder.exists():
                    print(f"images: {folder} is damaged: it is made anew", flush=True)
                shutil.rmtree(folder, ignore_errors=True)
                size = f"at most {bytes_text(needed)}" if needed else "nothing but an index is kept"
                print(f"images: {len(paths):,} to decode into {cache}, {size}", flush=True)
                of_images = cache_folder(cache, hashes, replace(how, store=PIXELS)).name
                index = {"entries": entries.astype(np.int32), "images": np.array(of_images), **(names or {})}
                _build(folder, index, paths, how)
    except OSError as error:
        raise UserError(f"{cache} could not be written: {error.strerror or error}") from error
    return ImageCache(folder, names)


def building(cache: Path) -> AbstractContextManager[None]:
    """Hold the lock under which images are added to a cache: who waits for it finds what others have built."""
    return lock.alone(cache / ".images.lock", f"images: {cache}")


def cache_folder(cache: Path, hashes: Sequence[str], how: How) -> Path:
    """Return where images of these content hashes lie that were made that way."""
    key = hashlib.sha256(f"{DECODER} shards {how.key}".encode())
    for content_hash in hashes:
        key.update(content_hash.encode())
    return cache / f"images-{key.hexdigest()[:16]}"


def distinct(files: Sequence[Path], hashes: Sequence[str]) -> tuple[npt.NDArray[np.int64], list[str]]:
    """Return each file's number among the distinct images, and the path of each; `ABSENT` where it has none."""
    entries = pd.factorize(np.asarray(hashes, dtype=object))[0]
    firsts = np.unique(entries, return_index=True)[1].tolist()
    return entries, [hashes[first] if hashes[first].startswith(ABSENT) else str(files[first]) for first in firsts]


def _opened(folder: Path, names: Names | None) -> ImageCache | None:
    """Return the cache in `folder`, with the host's files where they are now; None where it is none, or damaged."""
    if not folder.exists():
        return None
    try:
        images = ImageCache(folder, names)
        if names and not same_names(names, images._index):  # the root was moved: `doctor --verify` reads them there
            write_npz(folder / "index.npz", {**images._index, **names})
        return images
    except (UserError, KeyError, TypeError, ValueError):
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


def _build(folder: Path, index: dict[str, np.ndarray], paths: Sequence[str], how: How) -> None:
    with whole_folder(folder) as partial:
        facts = write_images(partial, paths, how)
        write_npz(partial / "index.npz", {**index, "how": np.array(how.to_json()), **facts})
