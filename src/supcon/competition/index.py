"""Every image file of the host's folders, found by the name that a table gives it."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import overload

from supcon.errors import UserError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
_PARTS = {"train": "train", "training": "train", "test": "test", "testing": "test"}  # words of a folder's name


def is_image(name: str) -> bool:
    """Say whether a file is called like an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def part_of(path: str) -> str:
    """Return "train" or "test" by the topmost folder of `path` whose name has that word, else ""."""
    return _part_of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=1 << 16)
def _part_of_folder(folder: str) -> str:
    for name in folder.split("/"):
        for word in re.split(r"[^a-z]+", name.lower()):
            if word in _PARTS:
                return _PARTS[word]
    return ""


class ImageIndex:
    """The images below some folders by relative path; of equal paths the first folder's is taken."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        first = {path for path in _walk(folders[0]) if is_image(path)}
        self._folder_of: dict[str, int] = {}  # of paths that the first folder does not have
        for number, folder in enumerate(folders[1:], 1):
            found = {path for path in _walk(folder) if is_image(path)}
            self._folder_of |= dict.fromkeys(found - first - self._folder_of.keys(), number)
        self.paths = sorted(first | self._folder_of.keys())

    @cached_property
    def _by_stem(self) -> dict[str, str | list[str]]:
        """The one path, or several, whose file is called so."""
        by_stem: dict[str, str | list[str]] = {}
        for path in self.paths:
            stem = path.rpartition("/")[2].rpartition(".")[0]
            known = by_stem.setdefault(stem, path)
            if known is not path:
                by_stem[stem] = [known, path] if isinstance(known, str) else [*known, path]
        return by_stem

    def forget_names(self) -> None:
        """Free what names are found by; it is made again where a name is asked for."""
        self.__dict__.pop("_by_stem", None)

    def file(self, path: str) -> Path:
        """Return where the image at the relative `path` lies."""
        return self._folders[self._folder_of.get(path, 0)] / path

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
            found = [path for path in self._called(name) if part_of(path) in ("", part)]
            if found or "/" not in name:
                return found
            name = name.split("/", 1)[1]

    def _called(self, name: str) -> list[str]:
        """Return the paths that `name` is, with or without its folders and suffix."""
        last = name.rpartition("/")[2]
        found = []
        for stem in {last, last.rpartition(".")[0]}:
            known = self._by_stem.get(stem, [])
            for path in [known] if isinstance(known, str) else known:
                whole = path if "/" in name else path.rpartition("/")[2]
                if name in (whole, whole.rpartition(".")[0]):
                    found.append(path)
        return sorted(found)


class Files(Sequence[Path]):
    """Where the images of some paths lie; each is made when it is asked for, since millions would take gigabytes."""

    def __init__(self, index: ImageIndex, paths: list[str]) -> None:
        self._index, self._paths = index, paths

    def __len__(self) -> int:
        return len(self._paths)

    @overload
    def __getitem__(self, place: int) -> Path: ...

    @overload
    def __getitem__(self, place: slice) -> "Files": ...

    def __getitem__(self, place: int | slice) -> "Path | Files":
        if isinstance(place, slice):
            return Files(self._index, self._paths[place])
        return self._index.file(self._paths[place])


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
