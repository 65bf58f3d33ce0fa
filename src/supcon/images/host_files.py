"""The host's files in place of a store: every access decodes one anew, and sees that it is the one it was."""

import os
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.errors import UserError
from supcon.images.geometry import Image, Unreadable
from supcon.images.shards import Bytes
from supcon.images.store import How

Names = dict[str, npt.NDArray[Any]]  # "names": all paths, one after the other; "ends": where each ends in there


def names_of(paths: Sequence[str]) -> Names:
    """Return paths as two arrays: a million strings would be copied to each worker process, one by one, when used."""
    encoded = [os.fsencode(path) for path in paths]
    ends = np.cumsum([len(path) for path in encoded], dtype=np.int64)
    return {"names": np.frombuffer(b"".join(encoded), np.uint8), "ends": ends}


def names_in(index: Mapping[str, npt.NDArray[Any]]) -> Names:
    """Return the paths that an index holds. Raises `KeyError` where it holds none."""
    return {"names": index["names"], "ends": index["ends"]}


def same_names(names: Names, index: Mapping[str, npt.NDArray[Any]]) -> bool:
    """Say whether an index holds these paths."""
    return all(np.array_equal(array, index[part]) for part, array in names.items())


class HostFiles:
    """Distinct images, decoded from the host's files."""

    def __init__(self, names: Bytes, ends: npt.NDArray[np.int64], how: How) -> None:
        self._names, self._ends, self._how = names, ends, how

    def path(self, entry: int) -> str:
        """Return the path of an image."""
        start = int(self._ends[entry - 1]) if entry else 0
        return os.fsdecode(self._names[start : int(self._ends[entry])].tobytes())

    def image(self, entry: int, checksum: int) -> Image:
        """Return an image, read-only. Raises `UserError` where its file is gone, or shows other pixels than it did."""
        path = self.path(entry)
        try:
            image = self._how.seen(path)
            reason = "" if zlib.crc32(image.data) == checksum else "other pixels"
        except (Unreadable, UserError) as error:
            reason = str(error).removeprefix(f"{path} cannot be read: ")
        if reason:
            raise UserError(
                f"{path} has changed since the cache was made ({reason}): put the former one back, or start again,"
                " and the next command reads it anew"
            )
        image.flags.writeable = False
        return image
