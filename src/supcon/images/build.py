"""Decode many images at once: worker processes, a bounded number of chunks ahead of the writer.

Processes, because a quarter of a small image's time is Python's, for which threads would queue, and because a decoder
that crashes takes only them down. They write the pixels themselves: sent to this process, each would cost a tenth more.
"""

import errno
import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from supcon.arrays import Rows
from supcon.errors import UserError
from supcon.images.decode import read_image
from supcon.images.geometry import Fit, Image, shrink, shrunk_size
from supcon.images.headers import FORMATS, Unreadable
from supcon.images.pillow import declared_size
from supcon.storage.processes import available_cores, worker_pool

_CHUNK_IMAGES, _CHUNK_BYTES = 256, 4_000_000  # whichever is reached first: bounds the memory
SHARD = 2**32  # bytes of a file of pixels: all file systems hold such, and one can be copied or checked at a time
_AHEAD = 3  # chunks under way for each process
_WORTH = 32  # images that are worth a further process
_SAMPLE = 256  # headers read to estimate the cache's size

_outputs: "list[Output]" = []  # in a worker process: where its pixels go


@dataclass
class Chunk:
    """What the index needs of some images, whose pixels stand one after the other in the file."""

    offset: int = 0  # bytes into the file
    shapes: list[tuple[int, int]] = field(default_factory=list)  # height, width as stored
    sizes: list[tuple[int, int]] = field(default_factory=list)  # width, height as in the file; (0, 0) for a bad one
    formats: list[int] = field(default_factory=list)  # places in FORMATS; -1 for a bad one
    reasons: list[str] = field(default_factory=list)  # empty for a readable one


class Output:
    """Files of SHARD bytes at most that processes fill at once: each reserves its bytes, then writes them.

    Places are counted through all files, as if each were full: none of what is written at once lies in two of them.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._end = folder, multiprocessing.Value("q", 0)

    def append(self, images: Sequence[Image]) -> int:
        """Write pixels and return their place. Raises `OSError`."""
        length = sum(image.size for image in images)
        with self._end.get_lock():
            offset = int(self._end.value)
            if offset % SHARD + length > SHARD:
                offset = (offset // SHARD + 1) * SHARD
            self._end.value = offset + length
        file = os.open(shard(self._folder, offset // SHARD), os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            if os.pwritev(file, [image.data for image in images], offset % SHARD) < length:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)
        return offset

    def sync(self) -> Rows:
        """Wait until all is on the disk; return the bytes of each file, [files]."""
        lengths = []
        for number in range(-(-self._end.value // SHARD)):
            with shard(self._folder, number).open("rb+") as file:
                os.fsync(file.fileno())
                lengths.append(os.fstat(file.fileno()).st_size)
        return np.array(lengths, np.int64)


def shard(folder: Path, number: int) -> Path:
    """Return where a file of pixels lies."""
    return folder / f"pixels-{number:03d}.bin"


def decode_chunk(paths: Sequence[str], side: int, fit: Fit) -> tuple[list[Image], Chunk]:
    """Decode and shrink images for a cache of `side` pixels; one that is unreadable becomes a black pixel."""
    images, chunk = list[Image](), Chunk()
    for path in paths:
        try:
            image, kind = read_image(path)
            chunk.sizes.append((image.shape[1], image.shape[0]))
            chunk.formats.append(FORMATS.index(kind))
            chunk.reasons.append("")
            image = shrink(image, side, fit)
        except Unreadable as error:
            image = np.zeros((1, 1, 3), np.uint8)
            chunk.sizes.append((0, 0))
            chunk.formats.append(-1)
            chunk.reasons.append(str(error))
        chunk.shapes.append((image.shape[0], image.shape[1]))
        images.append(np.ascontiguousarray(image))
    return images, chunk


def estimate_bytes(paths: Sequence[str], side: int, fit: Fit) -> int:
    """Return the bytes that the images will take at most: exact for few, else a sample's mean plus three errors."""
    sample = paths[:: -(-len(paths) // _SAMPLE)] if paths else []
    sizes = np.array([np.prod(shrunk_size(*declared_size(path), side, fit)) * 3.0 for path in sample])
    if len(sizes) == len(paths):
        return int(sizes.sum())
    return int(len(paths) * (sizes.mean() + 3 * sizes.std(ddof=1) / len(sizes) ** 0.5))


def write_images(folder: Path, paths: Sequence[str], side: int, fit: Fit) -> dict[str, np.ndarray]:
    """Write all images' pixels to pixels-000.bin, ... and return what the index needs of them, in the order of `paths`.

    Raises `UserError` for a file that cannot be opened, `OSError` where writing fails.
    """
    shapes, sizes = np.zeros((len(paths), 2), np.int32), np.zeros((len(paths), 2), np.int32)
    offsets, formats, reasons = np.zeros(len(paths), np.int64), np.zeros(len(paths), np.int8), dict[int, str]()
    output, done = Output(folder), 0
    with (
        tqdm(desc="decode", total=len(paths), unit="image", disable=None) as bar,
        closing(_in_order(output, paths, side, fit)) as chunks,
    ):
        for chunk in chunks:
            part = slice(done, done + len(chunk.shapes))
            shapes[part], sizes[part], formats[part] = chunk.shapes, chunk.sizes, chunk.formats
            ends = np.cumsum(shapes[part].prod(axis=1, dtype=np.int64) * 3)
            offsets[part] = chunk.offset + np.concatenate([[0], ends[:-1]])
            reasons |= {done + number: reason for number, reason in enumerate(chunk.reasons) if reason}
            done = part.stop
            bar.update(len(chunk.shapes))
    shards = output.sync()
    bad, why = np.array(list(reasons), np.int64), np.array(list(reasons.values()), str)
    of_images: dict[str, np.ndarray] = {"offsets": offsets, "shapes": shapes, "sizes": sizes, "formats": formats}
    return {**of_images, "bad": bad, "reasons": why, "shards": shards}


def _in_order(output: Output, paths: Sequence[str], side: int, fit: Fit) -> Generator[Chunk, None, None]:
    processes = max(1, min(available_cores(), len(paths) // _WORTH))
    step = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (side * side * 3), -(-len(paths) // processes)))
    pool = worker_pool(processes, _outputs.append, output)
    waiting: deque[Future[Chunk]] = deque()
    try:
        for start in range(0, len(paths), step):
            if len(waiting) == processes * _AHEAD:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_decode_into_output, paths[start : start + step], side, fit))
        while waiting:
            yield waiting.popleft().result()
    except BrokenProcessPool:
        raise UserError(
            "a decoding process was killed, most likely for want of memory: start again with more"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _decode_into_output(paths: Sequence[str], side: int, fit: Fit) -> Chunk:
    images, chunk = decode_chunk(paths, side, fit)
    chunk.offset = _outputs[-1].append(images)
    return chunk
