"""The cache of decoded images: memory-mapped files of uint8 pixels, which all runs share, and how it is built.

Many images are decoded at once by workers that are processes and not threads, because a quarter of the time of a small
image is spent in Python, where threads wait for each other, and because a decoder that crashes ends a worker alone.
They write the pixels themselves: sending these to the main process would take a tenth more time.
"""

import errno
import hashlib
import multiprocessing
import os
import shutil
from collections import deque
from collections.abc import Container, Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
from tqdm import tqdm

from supcon.errors import UserError
from supcon.images.decode import DECODER, read_image
from supcon.images.geometry import FORMATS, Fit, Image, Unreadable, cached_side, shrink, shrunk_size
from supcon.images.pillow import declared_size
from supcon.storage import lock
from supcon.storage.files import read_npz, write_npz
from supcon.storage.processes import available_cores, worker_pool
from supcon.storage.sizes import bytes_text

_LISTED = 20  # bad images that an error names
_CHUNK_IMAGES, _CHUNK_BYTES = 256, 4_000_000  # a chunk ends at the first of these limits, which bound the memory
_SHARD = 2**32  # bytes of a file of pixels: any file system holds files of that size, and they can be copied one by one
_AHEAD = 3  # chunks that each process has in work
_IMAGES_PER_PROCESS = 32  # at least: for fewer images the start of a process does not pay
_SAMPLE = 256  # headers read to estimate the cache's size

# of an image: where its written pixels begin, their height and width; width and height in its file, both 0 where that
# is unreadable; the format's position in FORMATS, or -1
_FACTS = np.dtype([("offsets", np.int64), ("shapes", np.int32, 2), ("sizes", np.int32, 2), ("formats", np.int8)])
Chunk = tuple[npt.NDArray[np.void], dict[int, str]]  # _FACTS of some images; why those are unreadable that are

_outputs: "list[Output]" = []  # in a worker process: the one output that it writes to


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
            file = _shard(folder, number)
            if not file.exists() or file.stat().st_size != length:
                raise UserError(f"{file} is missing or damaged: delete {folder} and start again")

    def __len__(self) -> int:
        return len(self._entries)

    def __getitem__(self, position: int) -> Image:
        """Return one image, [height, width, 3] RGB, read-only."""
        entry = self._entries[position]
        height, width = self._shapes[entry]
        number, offset = divmod(int(self._offsets[entry]), _SHARD)
        if number not in self._pixels:  # opened at the first use, in each process
            self._pixels[number] = np.memmap(_shard(self._folder, number), dtype=np.uint8, mode="r")
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
                    print(f"images: {len(paths):,} to decode into {cache}, at most {bytes_text(needed)}", flush=True)
                    _build(folder, entries, paths, side, fit)
        except OSError as error:
            raise UserError(f"{cache} could not be written: {error.strerror or error}") from error
    return ImageCache(folder)


def require_readable(images: ImageCache, files: Sequence[Path], exempt: Container[int] = ()) -> None:
    """Raise `UserError` listing the files, but at `exempt` positions, that could not be decoded, why, and the cure."""
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
            f"{cache} has {bytes_text(free)} free, and {images:,} decoded images may take {bytes_text(needed)}:"
            " make room, lower --data.image_size, or make cache a link to a larger disk"
        )


def _build(folder: Path, entries: npt.NDArray[np.int64], paths: Sequence[str], side: int, fit: Fit) -> None:
    partial = folder.with_name(f".{folder.name}")
    partial.mkdir()
    try:
        index = _write_images(partial, paths, side, fit)
        write_npz(partial / "index.npz", {"entries": entries.astype(np.int32), **index})
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


class Output:
    """Files of at most _SHARD bytes, which several processes fill together: each reserves bytes, then writes them.

    Offsets count through all files as if each were full. What one call of `append` writes lies in one file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._end = folder, multiprocessing.Value("q", 0)

    def append(self, images: Sequence[Image]) -> int:
        """Write the pixels of `images` and return their offset. Raises `OSError` where the disk is full or fails."""
        length = sum(image.size for image in images)
        with self._end.get_lock():
            offset = int(self._end.value)
            if offset % _SHARD + length > _SHARD:
                offset = (offset // _SHARD + 1) * _SHARD
            self._end.value = offset + length
        file = os.open(_shard(self._folder, offset // _SHARD), os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.lseek(file, offset % _SHARD, os.SEEK_SET)
            if os.writev(file, [image.data for image in images]) < length:  # pwritev is not everywhere
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)
        return offset

    def sync(self) -> npt.NDArray[np.int64]:
        """Wait until all files are on the disk; return the bytes of each, [files]."""
        lengths = []
        for number in range(-(-self._end.value // _SHARD)):
            with _shard(self._folder, number).open("rb+") as file:
                os.fsync(file.fileno())
                lengths.append(os.fstat(file.fileno()).st_size)
        return np.array(lengths, np.int64)


def _shard(folder: Path, number: int) -> Path:
    return folder / f"pixels-{number:03d}.bin"


def decode_chunk(paths: Sequence[str], side: int, fit: Fit) -> tuple[list[Image], Chunk]:
    """Decode and shrink images for a cache of `side` pixels; an unreadable image becomes one black pixel."""
    images, facts, reasons = list[Image](), [], dict[int, str]()
    for number, path in enumerate(paths):
        try:
            image, kind = read_image(path)
            size, position = image.shape[1::-1], FORMATS.index(kind)
            image = shrink(image, side, fit)
        except Unreadable as error:
            image, size, position = np.zeros((1, 1, 3), np.uint8), (0, 0), -1
            reasons[number] = str(error)
        images.append(np.ascontiguousarray(image))
        facts.append((0, image.shape[:2], size, position))
    return images, (np.array(facts, _FACTS), reasons)


def estimate_bytes(paths: Sequence[str], side: int, fit: Fit) -> int:
    """Return the bytes that the images take at most; of many it is a sample's mean plus three standard errors."""
    sample = paths[:: -(-len(paths) // _SAMPLE)] if paths else []
    sizes = np.array([np.prod(shrunk_size(*declared_size(path), side, fit)) * 3.0 for path in sample])
    if len(sizes) == len(paths):
        return int(sizes.sum())
    return int(len(paths) * (sizes.mean() + 3 * sizes.std(ddof=1) / len(sizes) ** 0.5))


def _write_images(folder: Path, paths: Sequence[str], side: int, fit: Fit) -> dict[str, np.ndarray]:
    """Write all pixels to pixels-000.bin, ... and return the arrays of the index, in the order of `paths`."""
    facts, reasons, output, done = np.zeros(len(paths), _FACTS), dict[int, str](), Output(folder), 0
    with (
        tqdm(desc="decode", total=len(paths), unit="image", disable=None) as bar,
        closing(_in_order(output, paths, side, fit)) as chunks,
    ):
        for chunk, chunk_reasons in chunks:
            facts[done : done + len(chunk)] = chunk
            reasons |= {done + number: reason for number, reason in chunk_reasons.items()}
            done += len(chunk)
            bar.update(len(chunk))
    bad, why = np.array(list(reasons), np.int64), np.array(list(reasons.values()), str)
    return {name: facts[name] for name in _FACTS.fields or ()} | {"bad": bad, "reasons": why, "shards": output.sync()}


def _in_order(output: Output, paths: Sequence[str], side: int, fit: Fit) -> Generator[Chunk, None, None]:
    processes = max(1, min(available_cores(), len(paths) // _IMAGES_PER_PROCESS))
    step = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (side * side * 3), -(-len(paths) // processes)))
    waiting: deque[Future[Chunk]] = deque()
    with worker_pool(processes, _write_to, output) as pool:
        for start in range(0, len(paths), step):
            if len(waiting) == processes * _AHEAD:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_decode_into_output, paths[start : start + step], side, fit))
        while waiting:
            yield waiting.popleft().result()


def _write_to(output: Output) -> None:
    _outputs.append(output)  # in a function of the module: another start method than fork would append to a copy


def _decode_into_output(paths: Sequence[str], side: int, fit: Fit) -> Chunk:
    images, chunk = decode_chunk(paths, side, fit)
    lengths = [image.size for image in images]
    chunk[0]["offsets"] = _outputs[-1].append(images) + np.cumsum(lengths) - lengths
    return chunk
