"""HDF5: an image a key, as ISIC 2024 has them, or an array of all images.

Links to other files are not followed, nor datasets whose numbers lie in other files. A row of a compressed array is
read with its chunk; an array in chunks of very many rows is copied once (`Stack.scattered`).
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.images.container import NEIGHBOURS, Array, Container, Contents, library, require_bounded, sorted_out
from supcon.images.geometry import Unreadable

_DEEPEST = 3  # groups within groups
_FEW = 100  # keys that are all looked into; of more, the first few tell what all are
_LOOKED_AT = 3
_CHUNKS_KEPT = 2 * NEIGHBOURS  # bytes of unpacked chunks, so that rows in their order unpack each once


class Hdf5(Container):
    """An open HDF5 file."""

    def __init__(self, path: str) -> None:
        self._library = library("h5py", path)
        # without locks: a folder of the host's may be mounted read-only, where there are none
        self._file = self._library.File(path, "r", locking=False, rdcc_nbytes=_CHUNKS_KEPT)
        self._open_stack: tuple[str, Any] | None = None

    def contents(self) -> Contents:
        """Return which images there are."""
        arrays = dict(self._arrays(self._file, "", _DEEPEST))
        return sorted_out(arrays, lambda name: self.value(name, None), self._is_scattered)

    def value(self, name: str, row: int | None) -> Any:
        """Return a member, or a row of one."""
        dataset = self._dataset(name) if row is None else self._stack(name)
        shape = dataset.shape if row is None else dataset.shape[1:]
        require_bounded(shape, dataset.dtype.itemsize)
        if row is not None and not 0 <= row < dataset.shape[0]:
            raise KeyError(row)
        value = dataset[()] if row is None else dataset[row]
        if isinstance(value, np.void) and value.dtype.names is None:  # opaque: a file's bytes
            return value.tobytes()
        return value

    def blocks(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield the rows of a stack, some at a time."""
        dataset = self._dataset(name)
        row_bytes = max(1, _array(dataset).row_bytes)
        step = dataset.chunks[0] if dataset.chunks else max(1, NEIGHBOURS // row_bytes)
        require_bounded((step, row_bytes), 1)
        for row in range(0, dataset.shape[0], step):
            yield dataset[row : row + step]

    def close(self) -> None:
        """Let go of the file."""
        self._open_stack = None
        self._file.close()

    def _arrays(self, group: Any, above: str, depth: int) -> Iterator[tuple[str, Array]]:
        """Yield the datasets below a group, by name: of many, all are taken to be like the first ones."""
        names = self._hard_links(group)
        looked_at = {name: group[_raw(name)] for name in (names if len(names) <= _FEW else names[:_LOOKED_AT])}
        datasets = [item for item in looked_at.values() if isinstance(item, self._library.Dataset)]
        if datasets and len(datasets) == len(looked_at) < len(names):
            yield from ((above + name, _array(datasets[0])) for name in names)
            return
        for name in names:
            item = looked_at[name] if name in looked_at else group[_raw(name)]
            if isinstance(item, self._library.Group) and depth:
                yield from self._arrays(item, f"{above}{name}/", depth - 1)
            elif isinstance(item, self._library.Dataset):
                yield above + name, _array(item)

    def _hard_links(self, group: Any) -> list[str]:
        found: list[bytes] = []
        hard = self._library.h5l.TYPE_HARD

        def note(name: bytes, info: Any) -> None:
            if info.type == hard:
                found.append(name)

        group.id.links.iterate(note, info=True)
        return [name.decode("utf-8", "surrogateescape") for name in found]

    def _stack(self, name: str) -> Any:
        """Return a dataset that stays open, since its unpacked chunks are kept only so long."""
        if self._open_stack is None or self._open_stack[0] != name:
            self._open_stack = name, self._dataset(name)
        return self._open_stack[1]

    def _dataset(self, name: str) -> Any:
        links, parts = self._file.id.links, _raw(name).split(b"/")
        for depth in range(1, len(parts) + 1):
            if links.get_info(b"/".join(parts[:depth])).type != self._library.h5l.TYPE_HARD:
                raise KeyError(name)
        dataset = self._file[_raw(name)]
        if not isinstance(dataset, self._library.Dataset) or dataset.shape is None:
            raise Unreadable("no image: it is a group, or empty")
        if dataset.is_virtual or dataset.external:
            raise Unreadable("its numbers lie in other files, which are not read: copy them into one")
        return dataset

    def _is_scattered(self, name: str) -> bool:
        dataset = self._dataset(name)
        rows = dataset.chunks[0] if dataset.chunks else 1
        return rows == 1 or rows * _array(dataset).row_bytes <= NEIGHBOURS


def _raw(name: str) -> bytes:
    """Return a name as it is in the file, where it need not be UTF-8."""
    return name.encode("utf-8", "surrogateescape")


def _array(dataset: Any) -> Array:
    return Array(dataset.shape or (), dataset.dtype)  # without a shape: of nothing
