"""Atomic files: written to a temporary name, synced, renamed; some tell by a checksum that they are as written."""

import hashlib
import json
import math
import os
import re
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.arrays import RowIndex
from supcon.errors import UserError
from supcon.storage.processes import MACHINE, is_running

_ROWS = 1 << 16  # rows of JSON in memory at once
_BLOCK = 1 << 22  # bytes of a file in memory at once
_NAME_LENGTH = 26  # offset in a zip file's local header of the lengths of the member's name and of its extra field
# the same tables whether or not pyarrow is installed, whose strings cannot hold every name of a file
pd.set_option("mode.string_storage", "python")

_TEMPORARY = re.compile(rf"\..+\.{re.escape(MACHINE)}-(\d+)\.tmp")  # a file that a process of this host is writing
_SEAL = b"\ncrc32 %08x\n"  # the end of a sealed file: the checksum of all before it
_SEAL_LENGTH = len(_SEAL % 0)
_CHECKSUM = "checksum"  # key of a JSON file: the digest of all other keys
AGAIN = "delete it and run its stage again"


def write_atomic(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let `write` fill a binary file that appears at `path` only when it is whole and on disk.

    Raises `UserError` where it cannot be written; then the file that was at `path` before stays.
    """
    # the host's name too: machines that share a folder may have processes of the same number
    temporary = path.with_name(f".{path.name}.{MACHINE}-{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
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


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that processes of this host, which have ended, left in `folder` itself."""
    with suppress(OSError):
        for path in list(folder.iterdir()):
            named = _TEMPORARY.fullmatch(path.name)
            if named and not is_running(int(named[1])):
                path.unlink(missing_ok=True)


def remove(path: Path) -> None:
    """Remove the file at `path`, if there is one. Raises `UserError` where that cannot be, as of a folder."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise UserError(f"{path} cannot be removed ({_reason(path, error)}): move it away") from None


def move(path: Path, target: Path) -> None:
    """Give a file or folder another name in its folder. Raises `UserError` where that cannot be."""
    try:
        path.rename(target)
    except OSError as error:
        raise UserError(f"{path} cannot be moved to {target.name} ({error.strerror}): move it away") from None


class _Summed:
    """A file to write to, and the checksum of what was written."""

    def __init__(self, file: IO[bytes]) -> None:
        self.checksum = 0
        self._file = file
        self.flush = file.flush

    def write(self, content: bytes) -> int:
        self.checksum = zlib.crc32(content, self.checksum)
        return self._file.write(content)


def write_sealed(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Do what `write_atomic` does, and put a checksum behind it; `write` must neither read nor seek."""

    def write_and_seal(file: IO[bytes]) -> None:
        summed = _Summed(file)
        write(cast(IO[bytes], summed))
        file.write(_SEAL % summed.checksum)

    write_atomic(path, write_and_seal)


def check_seal(path: Path) -> bool:
    """Return whether a file has a checksum: those of earlier versions have none.

    Raises `ValueError` where it is another than that of the file's content, `OSError` where that cannot be read.
    """
    checksum, left = 0, path.stat().st_size - _SEAL_LENGTH
    with path.open("rb") as file:
        while left > 0:
            content = file.read(min(_BLOCK, left))
            if not content:
                break
            checksum, left = zlib.crc32(content, checksum), left - len(content)
        seal = file.read()
    if not re.fullmatch(rb"\ncrc32 [0-9a-f]{8}\n", seal):
        return False
    if seal != _SEAL % checksum:
        raise ValueError("its content is not what was written")
    return True


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 `text` atomically."""
    write_atomic(path, lambda file: file.write(text.encode("utf-8")))


def write_json(path: Path, content: Mapping[str, object]) -> None:
    """Write readable JSON atomically."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path, cure: str = AGAIN) -> dict[str, Any]:
    """Read a JSON object. Raises `UserError`, with the `cure`, where the file is absent or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} is missing: run the stage that writes it first") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read ({_reason(path, error)}): {cure}") from None
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON ({error}): {cure}") from None
    if not isinstance(content, dict):
        raise UserError(f"{path} must hold a JSON object: {cure}")
    return content


def write_checked_json(path: Path, content: Mapping[str, object]) -> None:
    """Write JSON that holds the checksum of its content."""
    write_json(path, {**content, _CHECKSUM: digest(content)})


def read_checked_json(path: Path, cure: str = AGAIN) -> dict[str, Any]:
    """Read what `write_checked_json` wrote. Raises `UserError` where the file is absent, damaged or was changed.

    A file of an earlier version, which has no checksum, is read as it is.
    """
    content = read_json(path, cure)
    checksum = content.pop(_CHECKSUM, None)
    if checksum not in (None, digest(content)):
        raise UserError(f"{path} has changed since it was written, or is damaged: {cure}")
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
    except OSError as error:
        raise UserError(f"{path} cannot be read ({_reason(path, error)}): run its stage again with --force") from None
    except Exception as error:  # zipfile, zlib, struct and numpy each raise errors of their own
        raise UserError(f"{path} is damaged ({error}): run its stage again with --force") from None


@dataclass(frozen=True)
class NpzArray:
    """An array in an npz file whose rows are read from the file at each access; it takes no memory itself."""

    path: Path
    offset: int  # bytes into the file
    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def bytes(self) -> int:
        """Its length in the file."""
        return math.prod(self.shape) * self.dtype.itemsize

    @property
    def ndim(self) -> int:
        """The number of its dimensions."""
        return len(self.shape)

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
            array = NpzArray(path, file.tell(), shape, dtype)
            if array.offset + array.bytes > path.stat().st_size:
                raise ValueError("it ends early")
            arrays[member.filename.removesuffix(".npy")] = array
    return arrays


def sha256_file(path: Path) -> str:
    """Return the hex SHA-256 of a file's content. Raises `UserError` where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {_reason(path, error)}") from None


def _reason(path: Path, error: OSError) -> str:
    """Return why a file cannot be read."""
    return "a folder is in its place" if path.is_dir() else error.strerror or str(error)


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


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`, which becomes it in the end, so that it is whole or not there.

    What a killed process left of it is removed. Raises `OSError` where it cannot be written.
    """
    partial = folder.with_name(f".{folder.name}")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        yield partial
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
