"""Content hashes of the host's images, kept in cache/hashes.csv with each path, size and modification time."""

import csv
import hashlib
import io
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

import numpy as np
from tqdm import tqdm

from supcon.errors import UserError
from supcon.images.geometry import Unreadable
from supcon.images.members import open_image, status_of
from supcon.storage.files import digest_rows, write_atomic
from supcon.storage.pointers import GONE, absence
from supcon.storage.processes import available_cores, worker_pool

ABSENT = "absent: "

_COLUMNS = ["path", "size", "modified_ns", "sha256"]
_NO_FILE = -1, 0  # in place of size and modification time
_CHUNK = 256  # files that a process hashes before it returns their hashes
_MANY = 64  # files: for fewer the start of worker processes does not pay
_SMALL = 1 << 20  # bytes: smaller files are read whole, which takes a third of the time for a few kB


def content_hashes(cache: Path, files: Sequence[Path]) -> list[str]:
    """Return each file's SHA-256, reading new and changed files alone. Raises `UserError` where one cannot be read.

    In place of an image that is not there, or is none in its container, stands `ABSENT` and the reason.
    """
    index = cache / "hashes.csv"
    numbers: dict[str, int] = {}  # path -> its number among the distinct paths
    file_numbers = [numbers.setdefault(str(file), len(numbers)) for file in files]
    stamps = np.array([_stamp(path) for path in numbers], np.int64).reshape(-1, 2)  # size, modification time in ns
    hashes = [
        ABSENT + absence(path) if size < 0 else "" for path, size in zip(numbers, stamps[:, 0].tolist(), strict=True)
    ]
    for path, size, modified, sha256 in _rows(index):
        number = numbers.get(path)
        if number is not None and [size, modified] == [str(part) for part in stamps[number].tolist()]:
            hashes[number] = sha256
    missing = [number for number, known in enumerate(hashes) if not known]
    if missing:
        paths = list(numbers)
        computed = _hash_all([paths[number] for number in missing], stamps[missing, 0].tolist())
        bar = tqdm(computed, "hash", len(missing), unit="file", disable=None)
        for number, sha256 in zip(missing, bar, strict=True):
            hashes[number] = sha256
        write_atomic(index, lambda file: _write(file, index, numbers, stamps, hashes))
    return [hashes[number] for number in file_numbers]


def images_digest(paths: Sequence[str], hashes: Sequence[str]) -> str:
    """Return one hash of all images' relative paths and content hashes, whatever their order."""
    return digest_rows(sorted(zip(paths, hashes, strict=True)))


def _stamp(path: str) -> tuple[int, int]:
    """Return a file's size and modification time; `UserError` for what is no file, and for a FIFO or a device."""
    try:
        path.encode()
        status = status_of(path)
    except UnicodeEncodeError:
        raise UserError(f"{path!r} has a name that is not UTF-8: rename it") from None
    except OSError as error:
        if error.errno in GONE:
            return _NO_FILE
        raise UserError(f"{path} cannot be read: {error.strerror}") from None
    return (status.st_size, status.st_mtime_ns) if stat.S_ISREG(status.st_mode) else _NO_FILE


def _rows(index: Path) -> Iterator[list[str]]:
    """Yield the rows of cache/hashes.csv one at a time; damaged rows are skipped."""
    if not index.is_file():
        return
    with index.open(encoding="utf-8", errors="replace", newline="") as file:
        rows = csv.reader(file)
        while True:
            try:
                row = next(rows)
            except StopIteration:
                return
            except csv.Error:  # zeros; a quote that nothing closes: the reader goes on with the next line
                continue
            if len(row) == len(_COLUMNS) and re.fullmatch("[0-9a-f]{64}", row[-1]):
                yield row


def _hash_all(paths: Sequence[str], sizes: Sequence[int]) -> Iterator[str]:
    if len(paths) < _MANY:
        yield from map(_sha256, paths, sizes)
        return
    with worker_pool(available_cores()) as pool:  # processes: with small files threads wait for the interpreter
        yield from pool.map(_sha256, paths, sizes, chunksize=_CHUNK)


def _sha256(path: str, size: int) -> str:
    try:
        with open_image(path) as file:
            hashed = hashlib.sha256(file.read()) if size <= _SMALL else hashlib.file_digest(file, "sha256")
            return hashed.hexdigest()
    except Unreadable as error:  # an image in a container that is none: it is listed with those that are not there
        return f"{ABSENT}{error}"
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def _write(file: IO[bytes], index: Path, numbers: dict[str, int], stamps: np.ndarray, hashes: list[str]) -> None:
    """Write the rows of these files, and the earlier rows of all other files."""
    text = io.TextIOWrapper(file, encoding="utf-8", newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(_COLUMNS)
    writer.writerows(row for row in _rows(index) if row[0] not in numbers)
    writer.writerows(
        (path, *stamps[number].tolist(), hashes[number])
        for path, number in numbers.items()
        if not hashes[number].startswith(ABSENT)
    )
    text.detach()  # flushes, and leaves `file` open for the caller
