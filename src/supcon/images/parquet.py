"""Parquet: a column of image files' bytes, as Hugging Face's datasets have it too; the other columns are a table.

A cell is read with its group of rows. The last groups are kept, up to `_KEPT` bytes: images in their order read each
group once. Groups beyond `NEIGHBOURS` bytes are written once into smaller ones (`copy`).
"""

from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from supcon.images.container import NEIGHBOURS, Container, Contents, Stack, begins_as_image, library
from supcon.images.geometry import Unreadable

_KEPT = 2 * NEIGHBOURS  # bytes of groups in memory
_GROUP = NEIGHBOURS // 16  # bytes of a smaller group
_BATCH = 16  # rows that are read of a group at a time while it is written into smaller ones
_BUFFER = 2**20  # bytes that Arrow reads ahead; without, it holds a whole group (814 MB of memory, not 338, for 500 MB)
_BYTES = "bytes"  # field of a struct, beside "path", in Hugging Face's images


class Parquet(Container):
    """An open Parquet file."""

    copied_as = ".parquet"

    def __init__(self, path: str) -> None:
        self._arrow, self._path = library("pyarrow", path), path
        self._parquet = library("pyarrow.parquet", path)
        self._file = self._parquet.ParquetFile(path, memory_map=False, pre_buffer=False, buffer_size=_BUFFER)
        metadata = self._file.metadata
        counts = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
        self._starts = np.cumsum([0, *counts])  # of each group, and the end
        self._kept: OrderedDict[tuple[int, str], Any] = OrderedDict()

    def contents(self) -> Contents:
        """Return which images there are."""
        rows, stacks = int(self._starts[-1]), []
        for name in self._byte_columns():
            if self._begins_as_images(name):
                groups = self._group_bytes(name)
                stacks.append(Stack(name, rows, sum(groups), max(groups) <= NEIGHBOURS))
        return Contents(stacks=stacks, others=", ".join(self._file.schema_arrow.names))

    def value(self, name: str, row: int | None) -> bytes:
        """Return a member, or a row of one."""
        if row is None or not 0 <= row < self._starts[-1]:
            raise KeyError(name)
        group = int(np.searchsorted(self._starts, row, side="right")) - 1
        cell = self._column(group, name)[row - int(self._starts[group])]
        if not cell.is_valid:
            raise Unreadable("its cell is empty")
        return _bytes_of(cell)

    def close(self) -> None:
        """Let go of the file."""
        self._kept.clear()
        self._file.close()

    def table(self) -> pd.DataFrame:
        """Return the columns of plain cells as strings, empty where they are null."""
        types, plain = self._arrow.types, []
        for field in self._file.schema_arrow:
            kind = field.type.value_type if types.is_dictionary(field.type) else field.type
            if not (types.is_nested(kind) or _is_bytes(types, kind)):
                plain.append(field.name)
        table = self._file.read(columns=plain, use_threads=False)
        cast = {name: table[name].cast(self._arrow.string()).fill_null("") for name in plain}
        columns = {name: pd.Series(column.to_pylist(), dtype=str) for name, column in cast.items()}
        return pd.DataFrame(columns, index=pd.RangeIndex(int(self._starts[-1])))

    def copy(self, stack: Stack, target: Path) -> None:
        """Write a column of images into another file, in small groups of rows."""
        schema = self._arrow.schema([(stack.name, self._arrow.large_binary())])
        with self._parquet.ParquetWriter(str(target), schema, compression="none", use_dictionary=False) as out:
            waiting: list[bytes | None] = []
            for cell in self._cells(stack.name):
                waiting.append(_bytes_of(cell) if cell.is_valid else None)
                if sum(len(content or b"") for content in waiting) > _GROUP:
                    out.write_table(self._arrow.table([waiting], schema))
                    waiting = []
            out.write_table(self._arrow.table([waiting], schema))

    def _byte_columns(self) -> Iterator[str]:
        types = self._arrow.types
        for field in self._file.schema_arrow:
            names = [child.name for child in field.type] if types.is_struct(field.type) else []
            kind = field.type.field(_BYTES).type if names.count(_BYTES) == 1 else field.type
            is_list = types.is_list(kind) or types.is_large_list(kind)
            if _is_bytes(types, kind) or (is_list and types.is_uint8(kind.value_type)):
                yield field.name

    def _begins_as_images(self, name: str) -> bool:
        first = next((cell for cell in self._cells(name) if cell.is_valid), None)
        return first is not None and begins_as_image(_bytes_of(first))

    def _cells(self, name: str) -> Iterator[Any]:
        for batch in self._file.iter_batches(_BATCH, columns=[self._leaf(name)], use_threads=False):
            yield from self._within(batch.column(0))

    def _leaf(self, name: str) -> str:
        is_struct = self._arrow.types.is_struct(self._file.schema_arrow.field(name).type)
        return f"{name}.{_BYTES}" if is_struct else name

    def _within(self, column: Any) -> Any:
        return column.field(_BYTES) if self._arrow.types.is_struct(column.type) else column

    def _column(self, group: int, name: str) -> Any:
        """Return the cells of a group of rows."""
        if (group, name) not in self._kept:
            read = self._file.read_row_group(group, columns=[self._leaf(name)], use_threads=False)
            self._kept[group, name] = self._within(read.column(0).combine_chunks())
            while len(self._kept) > 1 and sum(column.nbytes for column in self._kept.values()) > _KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end((group, name))
        return self._kept[group, name]

    def _group_bytes(self, name: str) -> list[int]:
        """Return how many bytes of a column each group of rows holds, unpacked."""
        metadata, leaf, sizes = self._file.metadata, self._leaf(name), []
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            columns = (group.column(place) for place in range(group.num_columns))
            parts = [column for column in columns if f"{column.path_in_schema}.".startswith(f"{leaf}.")]
            sizes.append(sum(column.total_uncompressed_size for column in parts))
        return sizes


def _is_bytes(types: Any, kind: Any) -> bool:
    kind = kind.value_type if types.is_dictionary(kind) else kind
    checks = types.is_binary, types.is_large_binary, types.is_fixed_size_binary, types.is_binary_view
    return any(check(kind) for check in checks)


def _bytes_of(cell: Any) -> bytes:
    """Return the content of a cell: bytes, or a list of numbers."""
    if hasattr(cell, "values") and not hasattr(cell, "as_buffer"):
        content: bytes = cell.values.to_numpy(zero_copy_only=False).astype(np.uint8).tobytes()
        return content
    return bytes(cell.as_py())
