"""A file of a dataset on the host, as `model.weights` names it: kaggle:OWNER/DATASET/FILE."""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from supcon.errors import UserError

PREFIX = "kaggle:"
_PLACE = Path("cache", "weights")  # of a root
_NAME = re.compile(r"[A-Za-z0-9][\w-]*")
_LONGEST = 200  # bytes of a name


@dataclass(frozen=True)
class HostedFile:
    """One file of a dataset."""

    owner: str
    dataset: str
    file: str  # its path within the dataset

    def __str__(self) -> str:
        return f"{PREFIX}{self.owner}/{self.dataset}/{self.file}"

    def below(self, root: Path) -> Path:
        """Return its place below a root, whether it is there or not."""
        return root / _PLACE / self.owner / self.dataset / self.file


def read_hosted(name: str) -> HostedFile:
    """Return the file that is called `name`. Raises `UserError` where that cannot be a file's name."""
    owner, _, rest = name.removeprefix(PREFIX).partition("/")
    dataset, _, file = rest.partition("/")
    parts = file.split("/")
    possible = name.startswith(PREFIX) and name.isprintable() and "\\" not in name
    short = all(len(os.fsencode(part)) <= _LONGEST for part in (owner, dataset, *parts))
    if not (possible and short and _NAME.fullmatch(owner) and _NAME.fullmatch(dataset)) or {"", ".", ".."} & set(parts):
        raise UserError(
            f"{name[:_LONGEST]!r} names no file of the host: write kaggle:OWNER/DATASET/FILE, the first two as in the"
            " dataset's address"
        )
    return HostedFile(owner, dataset, file)


def hosted_at(path: Path, root: Path) -> HostedFile | None:
    """Return the file of the host whose place below `root` is `path`; None where it is no such place."""
    place = root / _PLACE
    if not path.is_relative_to(place) or len(parts := path.relative_to(place).parts) < 3:
        return None
    return HostedFile(parts[0], parts[1], "/".join(parts[2:]))
