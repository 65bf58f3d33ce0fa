"""How the cache of images is built: every file is decoded once, and what its store keeps of it is written.

Many images are decoded at once by workers that are processes and not threads, because a quarter of the time of a small
image is spent in Python, where threads wait for each other, and because a decoder that crashes ends a worker alone.
They write what is kept themselves: sending pixels to the main process would take a tenth more time.
"""

import zlib
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from supcon.images.geometry import FORMATS, Image, Unreadable
from supcon.images.hashes import ABSENT
from supcon.images.shards import Bytes, Output
from supcon.images.store import How
from supcon.storage.processes import available_cores, worker_pool

_CHUNK_IMAGES, _CHUNK_BYTES = 256, 4_000_000  # a chunk ends at the first of these limits, which bound the memory
_AHEAD = 3  # chunks that each process has in work
_IMAGES_PER_PROCESS = 32  # at least: for fewer images the start of a process does not pay

# of an image: where its bytes begin, and how many there are; its height and width; width and height in its file, both 0
# where that is unreadable; the format's position in FORMATS, or -1; the bands and frames in its file; the scale and the
# bytes of its numbers; the CRC-32 of its bytes, or of its pixels where none are kept
_FACTS = np.dtype(
    [("offsets", "i8"), ("lengths", "i8"), ("shapes", "i4", 2), ("sizes", "i4", 2), ("formats", "i1"), ("bands", "i4")]
    + [("frames", "i4"), ("scales", "f4"), ("depths", "i1"), ("checksums", "u4")]
)
BLACK: Image = np.zeros((1, 1, 3), np.uint8)  # in place of an unreadable image
BLACK.flags.writeable = False
Chunk = tuple[npt.NDArray[np.void], dict[int, str]]  # _FACTS of some images; why those are unreadable that are

_outputs: list[Output] = []  # in a worker process: the one output that it writes to


def decode_chunk(paths: Sequence[str], how: How) -> tuple[list[Bytes], Chunk]:
    """Decode and shrink images, and pack them; an unreadable one becomes one black pixel.

    In `paths` a file that is not there is named by `ABSENT` and the reason.
    """
    packed, facts, reasons = list[Bytes](), [], dict[int, str]()
    for number, path in enumerate(paths):
        try:
            if path.startswith(ABSENT):
                raise Unreadable(path.removeprefix(ABSENT))
            image, kind, *told, size = how.read(path)
            position = FORMATS.index(kind)
        except Unreadable as error:
            image, size, position, told = BLACK, (0, 0), -1, [0, 0, 0.0, 0]
            reasons[number] = str(error)
        packed.append(how.store.pack(image))
        checksum = zlib.crc32((packed[-1] if len(packed[-1]) else image).data)
        facts.append((0, len(packed[-1]), image.shape[:2], size, position, *told, checksum))
    return packed, (np.array(facts, _FACTS), reasons)


def write_images(folder: Path, paths: Sequence[str], how: How) -> dict[str, np.ndarray]:
    """Write what is kept of all images to files and return the arrays of the index, in the order of `paths`."""
    facts, reasons, output, done = np.zeros(len(paths), _FACTS), dict[int, str](), Output(folder, how.store.name), 0
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
    step = max(1, min(_CHUNK_IMAGES, _CHUNK_BYTES // (how.side**2 * 3), -(-len(paths) // processes)))
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
    packed, chunk = decode_chunk(paths, how)
    lengths = chunk[0]["lengths"]
    chunk[0]["offsets"] = _outputs[-1].append(packed) + np.cumsum(lengths) - lengths
    return chunk
