"""Atomic files: written to a temporary name, synced, renamed."""

import hashlib
import json
import os
import struct
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from glob import escape
from itertools import islice
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.arrays import RowIndex
from supcon.errors import UserError
from supcon.storage.processes import HOST, is_running

_ROWS = 1 << 16  # rows of JSON in memory at once
_NAME_LENGTH = 26  # offset in a zip file's local header of the lengths of the member's name and of its extra field


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a binary file that appears at `path` only when it is whole and on disk.

    Raises `UserError` where it cannot be written; then the file that was at `path` before stays.
    """
    # the host's name too: machines that share a folder may have processes of the same number
    temporary = path.with_name(f".{path.name}.{HOST}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _remove_leftovers(path)
        with temporary.open("wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def _remove_leftovers(path: Path) -> None:
    """Remove what processes of this machine that were killed have left of writing `path`."""
    start = f".{path.name}.{HOST}-"
    for leftover in path.parent.glob(f"{escape(start)}*.tmp"):
        number = leftover.name[len(start) : -len(".tmp")]
        if number.isdecimal() and not is_running(int(number)):
            with suppress(OSError):
                leftover.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` atomically."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write readable JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object. Raises `UserError` where the file is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that writes it first") from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}): delete it and run its stage again") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object: delete it and run its stage again")
    return content


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table without its index, atomically."""
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def write_npz(path: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    """Write arrays as npz without pickle; equal arrays give equal bytes."""
    write_atomic(path, lambda file: np.savez(file, allow_pickle=False, **arrays))


def read_npz(path: Path) -> dict[str, npt.NDArray[Any]]:
    """Read an npz file. Raises `UserError` where it is absent or damaged."""
    with _named_damage(path), np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


@contextmanager
def _named_damage(path: Path) -> Iterator[None]:
    try:
        yield
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that writes it first") from None
    except Exception as error:  # zipfile, zlib, struct and numpy each raise errors of their own
        raise UserError(f"{path} is damaged ({error}): run its stage again with --force") from None


@dataclass(frozen=True)
class NpzArray:
    """An array in an npz file whose rows are read from the file at each access; it takes no memory itself."""

    path: Path
    offset: int  # bytes into the file
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: RowIndex) -> npt.NDArray[Any]:
        # a new map at each access: the pages read through a map count as this process's memory while the map exists
        return np.array(np.memmap(self.path, self.dtype, "r", self.offset, self.shape)[rows])


def open_npz(path: Path) -> dict[str, NpzArray]:
    """Return the arrays of an npz file that `write_npz` wrote. Raises `UserError` where it is absent or damaged."""
    arrays = {}
    with _named_damage(path), path.open("rb") as file, zipfile.ZipFile(file) as archive:
        for member in archive.infolist():
            if member.compress_type != zipfile.ZIP_STORED:
                raise ValueError("it is compressed")
            file.seek(member.header_offset + _NAME_LENGTH)
            name_length, extra_length = struct.unpack("<HH", file.read(4))
            file.seek(name_length + extra_length, os.SEEK_CUR)
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, fortran, dtype = read(file)
            if fortran or dtype.hasobject:
                raise ValueError("it is not this project's")
            arrays[member.filename.removesuffix(".npy")] = NpzArray(path, file.tell(), shape, dtype)
    return arrays


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content. Raises `UserError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None


def digest_rows(rows: Iterable[object]) -> str:
    """Return `digest(list(rows))`, computed in parts, because the JSON of millions of rows would be large."""
    whole, start = hashlib.sha256(b"["), b""
    rows = iter(rows)
    while part := list(islice(rows, _ROWS)):
        text = json.dumps(part, sort_keys=True, ensure_ascii=False)[1:-1]
        whole.update(start + text.encode(errors="surrogatepass"))
        start = b", "
    whole.update(b"]")
    return whole.hexdigest()


def digest(content: object) -> str:
    """Return the hex SHA-256 of the JSON of `content`, whatever the order of its keys."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
