"""What every container of images has: images by name, images by the number of their row, and bytes for each."""

import importlib
import math
import shlex
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.errors import UserError
from supcon.images.formats import HEAD, sniff
from supcon.images.geometry import Unreadable
from supcon.images.uncompressed import MOST_CHANNELS, file_of

PINS = {"h5py": "h5py==3.16.0", "pyarrow": "pyarrow==26.0.1"}  # those of requirements-containers.txt
NEIGHBOURS = (
    2**22
)  # bytes that may be read for one image: unpacked in 1 to 4 ms, about what a photograph's decoding takes
LARGEST = 2**31  # bytes of one image

_LOOKED_AT = 3  # members that tell what all are
_SHOWN = 9  # arrays that a message names


@dataclass(frozen=True)
class Stack:
    """Images without names, one a row of an array or a column; row 17 is called `NAME/[17]`, or `[17]` without name."""

    name: str
    rows: int
    bytes: int  # of all rows, unpacked
    scattered: bool = True  # whether a row is read without very many others

    def member(self, row: int) -> str:
        """Return what a row is called."""
        return f"{self.name}/[{row}]".removeprefix("/")


@dataclass(frozen=True)
class Array:
    """What an array holds."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    @property
    def row_bytes(self) -> int:
        """The bytes of one row."""
        return math.prod(self.shape[1:]) * self.dtype.itemsize

    def stack(self, name: str, scattered: bool = True) -> Stack:
        """Return its rows as images."""
        return Stack(name, self.shape[0], self.shape[0] * self.row_bytes, scattered)


@dataclass(frozen=True)
class Contents:
    """The images of a container."""

    named: list[str] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)
    others: str = ""  # what else it holds, for a message


class Container(ABC):
    """An open file that holds images. Its methods raise what its library does at damage."""

    copied_as = ".npy"

    @abstractmethod
    def contents(self) -> Contents:
        """Return which images there are."""

    @abstractmethod
    def value(self, name: str, row: int | None) -> Any:
        """Return a member, or a row of one: an array of pixels, or the bytes of an image file. `KeyError` for none."""

    def blocks(self, name: str) -> Iterator[npt.NDArray[Any]]:
        """Yield the rows of a stack of pixels, some at a time, in order."""
        raise NotImplementedError

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""

    def copy(self, stack: Stack, target: Path) -> None:
        """Write the images of a stack into another file, whose rows are read one by one; its suffix is `copied_as`."""
        with target.open("wb") as file:
            done = 0
            for block in self.blocks(stack.name):
                if not done:
                    shape = stack.rows, *block.shape[1:]
                    facts = {"descr": np.lib.format.dtype_to_descr(block.dtype), "fortran_order": False, "shape": shape}
                    np.lib.format.write_array_header_1_0(file, facts)
                file.write(np.ascontiguousarray(block).data)
                done += len(block)
        if done != stack.rows:
            raise ValueError(f"it ends after {done:,} of {stack.rows:,} rows")

    def read(self, member: str) -> bytes:
        """Return an image as the bytes of a file. Raises `Unreadable` for a member that is none."""
        name, row = split_row(member)
        value = self.value(name, row)
        return bytes(value) if is_encoded(value) else file_of(np.asarray(value))


def split_row(member: str) -> tuple[str, int | None]:
    """Return a member's name and row; None where it is no row."""
    name, _, last = member.rpartition("/")
    number = last[1:-1]
    return (name, int(number)) if last == f"[{number}]" and number.isdecimal() else (member, None)


def is_encoded(value: Any) -> bool:
    """Say whether a value is the bytes of a file, and not pixels."""
    if isinstance(value, np.ndarray):
        return value.dtype == np.uint8 and value.ndim == 1
    return isinstance(value, bytes | memoryview)


def begins_as_image(value: Any) -> bool:
    """Say whether a value is the bytes of an image file, by its first ones."""
    with suppress(Unreadable):
        return is_encoded(value) and bool(sniff(bytes(value[:HEAD])))
    return False


def require_bounded(shape: Iterable[int], itemsize: int) -> None:
    """Raise `Unreadable` for an image that claims more bytes than any has, before room is made for it."""
    if (size := math.prod(shape) * itemsize) > LARGEST:
        raise Unreadable(f"no image: it claims {size / 1e9:,.1f} GB")


def sorted_out(arrays: Mapping[str, Array], value: Callable[[str], Any], scattered: Callable[[str], bool]) -> Contents:
    """Return which of several arrays hold images.

    Where some of bytes begin as images, by `value`, each is an image of its name. Else arrays [N, height, width] and
    [N, height, width, channels] are stacks, and without any each array [height, width], with channels or not, is an
    image of its name.
    """
    encoded = [name for name, array in arrays.items() if len(array.shape) < 2]
    deep = [name for name, array in arrays.items() if len(array.shape) > 2]
    stacks, named = [name for name in deep if is_stack(arrays[name].shape, alone=len(deep) == 1)], list[str]()
    if any(_begins_as_image(value, name) for name in encoded[:_LOOKED_AT]):
        stacks, named = [], list(arrays)
    elif not stacks:
        named = [name for name, array in arrays.items() if len(array.shape) in (2, 3)]
    taken = {*stacks, *named}
    others = [f"{name} {list(array.shape)}" for name, array in arrays.items() if name not in taken]
    shown = ", ".join(others[:_SHOWN]) + ", ..." * (len(others) > _SHOWN)
    return Contents(named, [arrays[name].stack(name, scattered(name)) for name in stacks], shown)


def _begins_as_image(value: Callable[[str], Any], name: str) -> bool:
    try:
        return begins_as_image(value(name))
    except Unreadable:
        return False


def is_stack(shape: tuple[int, ...], *, alone: bool = True) -> bool:
    """Say whether an array of this shape holds many images, and not one with its channels."""
    return len(shape) == 4 or (len(shape) == 3 and shape[2] > MOST_CHANNELS and (alone or shape[0] > MOST_CHANNELS))


def library(name: str, path: str) -> Any:
    """Import an optional library. Raises `UserError` with the command that installs it."""
    package = name.partition(".")[0]
    try:
        return importlib.import_module(name)
    except ImportError:
        raise UserError(
            f"{path} holds what {package} reads, and that is not installed: {shlex.quote(sys.executable)} -m pip"
            f" install {PINS[package]} (requirements-containers.txt)"
        ) from None
