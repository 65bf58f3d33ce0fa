"""Every image file of the host's folders, found by the name that a table gives it."""

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path, PurePosixPath

from supcon.errors import UserError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
_PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}  # words of a folder's name


def is_image(name: str) -> bool:
    """Say whether a file is called like an image."""
    return PurePosixPath(name).suffix.lower() in IMAGE_SUFFIXES


def part_of(path: str) -> str:
    """Return "train" or "test" by the topmost folder of `path` whose name has that word, else ""."""
    for folder in path.split("/")[:-1]:
        for word in re.split(r"[^a-z]+", folder.lower()):
            if word in _PARTS:
                return _PARTS[word]
    return ""


class ImageIndex:
    """The images below some folders by relative path; of equal paths the first folder's is taken."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        folder_of: dict[str, int] = {}
        for number, folder in enumerate(folders):
            for path in _walk(folder):
                if is_image(path):
                    folder_of.setdefault(path, number)
        self.paths = sorted(folder_of)
        self._elsewhere = {path: number for path, number in folder_of.items() if number}  # than in the first folder

    @cached_property
    def _by_name(self) -> dict[str, list[str]]:
        """The paths that a name without suffix, folders or both may mean."""
        by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            name = path.rsplit("/", 1)[-1]
            for key in {path, path.rsplit(".", 1)[0], name, name.rsplit(".", 1)[0]}:
                by_name[key].append(path)
        return by_name

    def forget_names(self) -> None:
        """Free what names are found by, a kilobyte an image; it is made again where a name is asked for."""
        self.__dict__.pop("_by_name", None)

    def file(self, path: str) -> Path:
        """Return where the image at the relative `path` lies."""
        return self._folders[self._elsewhere.get(path, 0)] / path

    def holds(self, name: str, part: str) -> bool:
        """Say whether `name` calls an image that may belong to `part`."""
        return bool(self._candidates(name, part))

    def find(self, name: str, part: str, table: str) -> str:
        """Return the path of the image that `table` calls `name`, with or without its folders and suffix.

        `part` ("train" or "test") settles ties. Raises `UserError` where none or two fit.
        """
        found = self._candidates(name, part)
        if len(found) > 1:
            found = [path for path in found if part_of(path) == part] or found
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{table}: the id {name!r} fits {found[0]} and {found[1]}: give the id its folder or suffix"
            )
        raise UserError(
            f"{table}: the id {name!r} has no image below {self._folders[0]}: is the image folder complete?"
        )

    def _candidates(self, name: str, part: str) -> list[str]:
        """Return the paths that `name` fits by its longest match: a table may name more folders than there are."""
        while True:
            found = [path for path in self._by_name.get(name, []) if part_of(path) in ("", part)]
            if found or "/" not in name:
                return found
            name = name.split("/", 1)[1]


def _walk(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all files, dot-files and dot-folders aside; a folder is entered once, links too."""
    entered = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        status = Path(where).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        base = Path(where).relative_to(folder).as_posix()
        for name in files:
            if not name.startswith("."):
                yield name if base == "." else f"{base}/{name}"
