"""NumPy's files: an array of images (.npy), or several arrays (.npz). Rows are read from their place in the file.

Not by a memory map, whose pages would count as memory of the process. Nothing is unpickled (law 11).
"""

import math
import os
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from supcon.images.container import NEIGHBOURS, Array, Container, Contents, is_stack, require_bounded, sorted_out
from supcon.images.geometry import Unreadable
from supcon.storage.pointers import regular

_NAME_LENGTH = 26  # offset in a zip's local header of the lengths of the member's name and of its extra field
_HEADERS = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}


@dataclass(frozen=True)
class _Header(Array):
    length: int  # bytes before the first number

    def rows_of(self, content: bytes) -> npt.NDArray[Any]:
        """Return as many rows as there are whole ones."""
        return np.frombuffer(content, self.dtype).reshape(-1, *self.shape[1:])


def _read_header(file: IO[bytes]) -> _Header:
    """Read the start of an .npy file. Raises `ValueError` where it is damaged, `Unreadable` for what is no numbers."""
    version = np.lib.format.read_magic(file)
    if version not in _HEADERS:
        raise Unreadable(f"it holds an array of version {version}, no numbers")
    shape, by_columns, dtype = _HEADERS[version](file)
    if dtype.hasobject or dtype.kind not in "buif":
        raise Unreadable(f"it holds {'Python objects' if dtype.hasobject else dtype}, no numbers")
    if by_columns and len(shape) > 1:
        raise Unreadable("it is in Fortran's order, np.ascontiguousarray of it would not be")
    if any(side < 0 for side in shape):
        raise ValueError(f"its shape is {list(shape)}")
    return _Header(shape, dtype, file.tell())


class _Rows:
    """An array that lies in a file as it is."""

    def __init__(self, file: IO[bytes], start: int, header: _Header) -> None:
        self._file, self._start, self.header = file, start + header.length, header
        end = self._start + math.prod(header.shape) * header.dtype.itemsize
        if end > os.fstat(file.fileno()).st_size:
            raise ValueError("it ends too soon")

    def read(self, row: int, count: int = 1) -> npt.NDArray[Any]:
        size = self.header.row_bytes
        if not 0 <= row < self.header.shape[0]:
            raise KeyError(row)
        content = os.pread(self._file.fileno(), size * count, self._start + row * size)
        if len(content) < size:
            raise ValueError("it ends too soon")
        return self.header.rows_of(content)

    def blocks(self) -> Iterator[npt.NDArray[Any]]:
        """Yield the rows of a stack, some at a time."""
        step = max(1, NEIGHBOURS // max(1, self.header.row_bytes))
        for row in range(0, self.header.shape[0], step):
            yield self.read(row, min(step, self.header.shape[0] - row))


class Npy(Container):
    """One array [N, ...]."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", buffering=0, opener=regular)  # noqa: SIM115 - until `close`
        self._rows = _Rows(self._file, 0, _read_header(self._file))

    def contents(self) -> Contents:
        """Return which images there are."""
        header = self._rows.header
        return (
            Contents(stacks=[header.stack("")]) if is_stack(header.shape) else Contents(others=f"{list(header.shape)}")
        )

    def value(self, name: str, row: int | None) -> npt.NDArray[Any]:
        """Return a member, or a row of one."""
        if name or row is None:
            raise KeyError(name)
        require_bounded((self._rows.header.row_bytes,), 1)
        return self._rows.read(row)[0]

    def blocks(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield the rows of a stack, some at a time."""
        return self._rows.blocks()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


class Npz(Container):
    """Arrays by name; compressed ones are read whole, or block by block."""

    def __init__(self, path: str) -> None:
        self._file = open(path, "rb", opener=regular)  # noqa: SIM115 - until `close`
        self._zip = zipfile.ZipFile(self._file)
        names = [info.filename for info in self._zip.infolist()]
        self._members = {name.removesuffix(".npy"): name for name in names if name.endswith(".npy")}
        self._rows: dict[str, _Rows] = {}

    def contents(self) -> Contents:
        """Return which images there are."""
        headers, others = dict[str, _Header](), list[str]()
        for name in self._members:
            try:
                headers[name] = self._header(name)
            except Unreadable as error:  # such as the names of classes
                others.append(f"{name} ({error})")
        contents = sorted_out(headers, lambda name: self.value(name, None), self._is_stored)
        return replace(contents, others=", ".join(filter(None, [contents.others, *others])))

    def value(self, name: str, row: int | None) -> npt.NDArray[Any]:
        """Return a member, or a row of one."""
        if row is not None:
            return self._stored(name).read(row)[0]
        header = self._header(name)
        require_bounded(header.shape, header.dtype.itemsize)
        with self._zip.open(self._members[name]) as file:
            _read_header(file)
            return header.rows_of(file.read()).reshape(header.shape)

    def blocks(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield the rows of a stack, some at a time."""
        with self._zip.open(self._members[name]) as file:
            header = _read_header(file)
            step = max(1, NEIGHBOURS // max(1, header.row_bytes)) * header.row_bytes
            while content := file.read(step):
                yield header.rows_of(content)

    def close(self) -> None:
        """Let go of the file."""
        self._zip.close()
        self._file.close()

    def _header(self, name: str) -> _Header:
        with self._zip.open(self._members[name]) as file:
            return _read_header(file)

    def _is_stored(self, name: str) -> bool:
        return self._zip.getinfo(self._members[name]).compress_type == zipfile.ZIP_STORED

    def _stored(self, name: str) -> _Rows:
        if name not in self._rows:
            if not self._is_stored(name):
                raise KeyError(name)
            start = self._zip.getinfo(self._members[name]).header_offset
            lengths = os.pread(self._file.fileno(), 4, start + _NAME_LENGTH)
            begin = start + _NAME_LENGTH + 4 + sum(struct.unpack("<HH", lengths))
            self._rows[name] = _Rows(self._file, begin, self._header(name))
        return self._rows[name]
