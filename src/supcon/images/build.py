"""How the cache of decoded images is built.

Many images are decoded at once by workers that are processes and not threads, because a quarter of the time of a small
image is spent in Python, where threads wait for each other, and because a decoder that crashes ends a worker alone.
They write the pixels themselves: sending these to the main process would take a tenth more time.
"""

import errno
import multiprocessing
import os
import zlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.images.decode import read_image
from supcon.images.geometry import FORMATS, Fit, Image, Unreadable, shrink, shrunk_size
from supcon.images.hashes import ABSENT
from supcon.images.pillow import declared_size
from supcon.images.reading import Reading
from supcon.storage.processes import available_cores, worker_pool

SHARD = 2**32  # bytes of a file of pixels: any file system holds files of that size, and they can be copied one by one
_CHUNK_IMAGES, _CHUNK_BYTES = 256, 4_000_000  # a chunk ends at the first of these limits, which bound the memory
_AHEAD = 3  # chunks that each process has in work
_IMAGES_PER_PROCESS = 32  # at least: for fewer images the start of a process does not pay
_SAMPLE = 256  # headers read to estimate the cache's size

# of an image: where its written pixels begin, their height and width; width and height in its file, both 0 where that
# is unreadable; the format's position in FORMATS, or -1; the bands and frames in its file; the scale and the
# bytes of its numbers; the CRC-32 of its written pixels
_FACTS = np.dtype(
    [("offsets", "i8"), ("shapes", "i4", 2), ("sizes", "i4", 2), ("formats", "i1"), ("bands", "i4")]
    + [("frames", "i4"), ("scales", "f4"), ("depths", "i1"), ("checksums", "u4")]
)
How = tuple[int, Fit, Reading]  # how images become pixels: the side that they are kept for, in pixels, comes first
Chunk = tuple[npt.NDArray[np.void], dict[int, str]]  # _FACTS of some images; why those are unreadable that are

_outputs: "list[Output]" = []  # in a worker process: the one output that it writes to


class Output:
    """Files of at most SHARD bytes, which several processes fill together: each reserves bytes, then writes them.

    Offsets count through all files as if each were full. What one call of `append` writes lies in one file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._end = folder, multiprocessing.Value("q", 0)

    def append(self, images: Sequence[Image]) -> int:
        """Write the pixels of `images` and return their offset. Raises `OSError` where the disk is full or fails."""
        length = sum(image.size for image in images)
        with self._end.get_lock():
            offset = int(self._end.value)
            if offset % SHARD + length > SHARD:
                offset = (offset // SHARD + 1) * SHARD
            self._end.value = offset + length
        file = os.open(shard_file(self._folder, offset // SHARD), os.O_WRONLY | os.O_CREAT, 0o666)
        try:
            os.lseek(file, offset % SHARD, os.SEEK_SET)
            written = os.writev(file, [image.data for image in images])  # pwritev is not everywhere
            if written < length:  # the system says why when the rest is written
                rest = b"".join(image.data for image in images)[written:]
                if os.write(file, rest) < len(rest):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        finally:
            os.close(file)
        return offset

    def sync(self) -> npt.NDArray[np.int64]:
        """Wait until all files are on the disk; return the bytes of each, [files]."""
        lengths = []
        for number in range(-(-self._end.value // SHARD)):
            with shard_file(self._folder, number).open("rb+") as file:
                os.fsync(file.fileno())
                lengths.append(os.fstat(file.fileno()).st_size)
        return np.array(lengths, np.int64)


def shard_file(folder: Path, number: int) -> Path:
    """Return the file of pixels of that number."""
    return folder / f"pixels-{number:03d}.bin"


def decode_chunk(paths: Sequence[str], side: int, fit: Fit, reading: Reading) -> tuple[list[Image], Chunk]:
    """Decode and shrink images for a cache of `side` pixels; an unreadable image becomes one black pixel.

    In `paths` a file that is not there is named by `ABSENT` and the reason.
    """
    images, facts, reasons = list[Image](), [], dict[int, str]()
    for number, path in enumerate(paths):
        try:
            if path.startswith(ABSENT):
                raise Unreadable(path.removeprefix(ABSENT))
            image, kind, *told = read_image(path, reading)
            size, position = image.shape[1::-1], FORMATS.index(kind)
            image = shrink(image, side, fit)
        except Unreadable as error:
            image, size, position, told = np.zeros((1, 1, 3), np.uint8), (0, 0), -1, [0, 0, 0.0, 0]
            reasons[number] = str(error)
        images.append(np.ascontiguousarray(image))
        facts.append((0, image.shape[:2], size, position, *told, zlib.crc32(images[-1].data)))
    return images, (np.array(facts, _FACTS), reasons)


def estimate_bytes(paths: Sequence[str], side: int, fit: Fit) -> int:
    """Return the bytes that the images take at most; of many it is a sample's mean plus three standard errors."""
    sample = paths[:: -(-len(paths) // _SAMPLE)] if paths else []
    sizes = np.array([np.prod(shrunk_size(*declared_size(path), side, fit)) * 3.0 for path in sample])
    if len(sizes) == len(paths):
        return int(sizes.sum())
    return int(len(paths) * (sizes.mean() + 3 * sizes.std(ddof=1) / len(sizes) ** 0.5))


def write_images(folder: Path, paths: Sequence[str], how: How) -> dict[str, np.ndarray]:
    """Write all pixels to pixels-000.bin, ... and return the arrays of the index, in the order of `paths`."""
    facts, reasons, output, done = np.zeros(len(paths), _FACTS), dict[int, str](), Output(folder), 0
    with (
        tqdm(desc="decode", total=len(paths), unit="image", disable=None) as bar,
        closing(_in_order(output, paths, how)) as chunks,
    ):
        for chunk, chunk_reasons in chunks:
            facts[done : done + len(chunk)] = chunk
            reasons |= {done + number: reason for number, reason in chunk_reasons.items()}
            done += len(chunk)
            bar.update(len(chunk))
    bad, why = np.array(list(reasons), np.int64), np.array(list(reasons.values()), str)
    return {name: facts[name] for name in _FACTS.fields or ()} | {"bad": bad, "reasons": why, "shards": output.sync()}


def _in_order(output: Output, paths: Sequence[str], how: How) -> Generator[Chunk, None, None]:
    processes = max(1, min(available_cores(), len(paths) // _IMAGES_PER_PROCESS))
    step = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (how[0] ** 2 * 3), -(-len(paths) // processes)))
    waiting: deque[Future[Chunk]] = deque()
    with worker_pool(processes, _write_to, output) as pool:
        for start in range(0, len(paths), step):
            if len(waiting) == processes * _AHEAD:
                yield waiting.popleft().result()
            waiting.append(pool.submit(_decode_into_output, paths[start : start + step], how))
        while waiting:
            yield waiting.popleft().result()


def _write_to(output: Output) -> None:
    _outputs.append(output)  # in a function of the module: another start method than fork would append to a copy


def _decode_into_output(paths: Sequence[str], how: How) -> Chunk:
    images, chunk = decode_chunk(paths, *how)
    lengths = [image.size for image in images]
    chunk[0]["offsets"] = _outputs[-1].append(images) + np.cumsum(lengths) - lengths
    return chunk
