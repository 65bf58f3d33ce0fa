"""Files of a bounded size that hold the bytes of many images: written by several processes, read in any order.

An image is read by its offset. A memory map is no faster where the file is in memory, and reads three times as much
where the file is larger than that (docs/LOG.md). What was read stays in the system's page cache, for all processes.
"""

import errno
import multiprocessing
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.errors import UserError

SHARD = 2**32  # bytes of a file: any file system holds files of that size, and they can be copied one by one

Bytes = npt.NDArray[np.uint8]  # [length]


def shard_file(folder: Path, kind: str, number: int) -> Path:
    """Return the file of that number; `kind` is what it holds: pixels, or jpeg."""
    return folder / f"{kind}-{number:03d}.bin"


class Output:
    """Files of at most SHARD bytes, which several processes fill together: each reserves bytes, then writes them.

    Offsets count through all files as if each were full. What one call of `append` writes lies in one file.
    """

    def __init__(self, folder: Path, kind: str) -> None:
        self._folder, self._kind, self._end = folder, kind, multiprocessing.Value("q", 0)

    def append(self, images: Sequence[Bytes]) -> int:
        """Write the bytes of `images` and return their offset. Raises `OSError` where the disk is full or fails."""
        length = sum(image.size for image in images)
        if length == 0:
            return 0
        with self._end.get_lock():
            offset = int(self._end.value)
            if offset % SHARD + length > SHARD:
                offset = (offset // SHARD + 1) * SHARD
            self._end.value = offset + length
        file = os.open(shard_file(self._folder, self._kind, offset // SHARD), os.O_WRONLY | os.O_CREAT, 0o666)
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
            with shard_file(self._folder, self._kind, number).open("rb+") as file:
                os.fsync(file.fileno())
                lengths.append(os.fstat(file.fileno()).st_size)
        return np.array(lengths, np.int64)


class Shards:
    """The files that an `Output` wrote, of these lengths, opened at the first use in each process."""

    def __init__(self, folder: Path, kind: str, lengths: Sequence[int]) -> None:
        """Raise `UserError` where a file is missing or has another length."""
        self._folder, self._kind = folder, kind
        self._open: dict[int, _File] = {}
        for number, length in enumerate(lengths):
            file = shard_file(folder, kind, number)
            if not file.exists() or file.stat().st_size != length:
                raise UserError(f"{file} is missing or damaged: delete {folder} and start again")

    def read(self, offset: int, length: int) -> Bytes:
        """Return bytes, read-only; fewer than `length` of a file that was cut off since."""
        number, start = divmod(offset, SHARD)
        if number not in self._open:
            self._open[number] = _File(self.file(offset))
        return np.frombuffer(os.pread(self._open[number].descriptor, length, start), np.uint8)

    def file(self, offset: int) -> Path:
        """Return the file that holds the bytes at `offset`."""
        return shard_file(self._folder, self._kind, offset // SHARD)

    def __getstate__(self) -> dict[str, object]:
        return {**self.__dict__, "_open": {}}


class _File:
    """A descriptor that is closed with its last user; a forked process may share it, since it is read by offset."""

    def __init__(self, path: Path) -> None:
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)

    def __del__(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
