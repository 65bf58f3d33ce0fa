"""The tables in the host's folders, and all image files there, by the names that tables give them."""

import os
import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from supcon.errors import UserError

SAMPLE, TRAIN, TEST = "sample_submission.csv", "train.csv", "test.csv"
_OTHER_NAMES = {  # what hosts also call them, letters alone
    SAMPLE: {"samplesubmission"},
    TRAIN: {"train", "training", "trainlabels", "traininglabels"},
    TEST: {"test", "testing"},
}
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"),
    *(".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".icb", ".vda"),
    *(".vst", ".dds", ".ico", ".qoi", ".pcx", ".sgi", ".ras"),
    *(".heic", ".heif", ".jxl"),  # are not read, but are images: named rather than passed over
}


def find_table(folders: list[Path], name: str) -> Path | None:
    """Return the table called `name`, or else one whose name hosts use for it; None where no folder has either.

    The first folder that has such a table counts, and in it the table nearest to the top. Raises `UserError` where two
    tables beside each other have such other names and none is called `name`.
    """
    for folder in folders:
        tables = [path for depth in ("*.csv", "*/*.csv") for path in sorted(folder.glob(depth))]
        exact = [path for path in tables if path.name == name]
        alike = [path for path in tables if re.sub("[^a-z]", "", path.stem.lower()) in _OTHER_NAMES[name]]
        if not exact and len(alike) > 1 and alike[0].parent == alike[1].parent:
            raise UserError(f"{alike[0]} and {alike[1].name}: rename the one that is meant to {name}")
        if exact or alike:
            return (exact or alike)[0]
    return None


def is_image(name: str) -> bool:
    """Say whether a file has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def part_of(path: str) -> str:
    """Return "train" or "test" where a folder of `path` has that word in its name (the topmost counts), else ""."""
    return _part_of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=1 << 16)
def _part_of_folder(folder: str) -> str:
    part = re.search(r"(?<![a-z])(train|test)(ing)?(?![a-z])", folder.lower())
    return part[1] if part else ""


class ImageIndex:
    """The images below several folders, by relative path; the first folder that has a path counts."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._folders = list(folders)
        first = set(_walk(folders[0]))
        self._folder_of: dict[str, int] = {}  # of paths that the first folder does not have
        for number, folder in enumerate(folders[1:], 1):
            images = set(_walk(folder)) - first - self._folder_of.keys()
            self._folder_of |= dict.fromkeys(images, number)
        self.paths = sorted(first | self._folder_of.keys())

    @cached_property
    def _by_stem(self) -> dict[str, str | list[str]]:
        """The path, or the list of paths, of the files with a name (without its suffix)."""
        by_stem: dict[str, str | list[str]] = {}
        for path in self.paths:
            stem = path.rpartition("/")[2].rpartition(".")[0]
            known = by_stem.setdefault(stem, path)
            if known is not path:
                by_stem[stem] = [known, path] if isinstance(known, str) else [*known, path]
        return by_stem

    def forget_names(self) -> None:
        """Free the memory of the search by name; the next search builds it again."""
        self.__dict__.pop("_by_stem", None)

    def file(self, path: str) -> Path:
        """Return where the image at the relative `path` lies."""
        return self._folders[self._folder_of.get(path, 0)] / path

    def holds(self, name: str, part: str) -> bool:
        """Say whether `name` fits an image that may belong to `part`."""
        return bool(self._candidates(name, part))

    def find(self, name: str, part: str, table: str) -> str:
        """Return the path of the image that `table` calls `name`, with or without its folders and suffix.

        Where several images fit, those in a folder of `part` ("train" or "test") count. Raises `UserError` where no
        image fits, or several.
        """
        paths = self._candidates(name, part)
        if len(paths) > 1:
            paths = [path for path in paths if part_of(path) == part] or paths
        if len(paths) == 1:
            return paths[0]
        odd = (
            f"fits {paths[0]} and {paths[1]}: give the id its folder or suffix"
            if paths
            else (f"has no image below {self._folders[0]}: is the image folder complete?")
        )
        raise UserError(f"{table}: the id {name!r} {odd}")

    def _candidates(self, name: str, part: str) -> list[str]:
        """Return the paths that fit `name`, or what remains without its first folders: tables may name more folders."""
        while True:
            paths = [path for path in self._matches(name) if part_of(path) in ("", part)]
            if paths or "/" not in name:
                return paths
            name = name.split("/", 1)[1]

    def _matches(self, name: str) -> list[str]:
        """Return the paths that equal `name`, with or without their folders and suffix."""
        last = name.rpartition("/")[2]
        paths = []
        for stem in {last, last.rpartition(".")[0]}:
            known = self._by_stem.get(stem, [])
            for path in [known] if isinstance(known, str) else known:
                whole = path if "/" in name else path.rpartition("/")[2]
                if name in (whole, whole.rpartition(".")[0]):
                    paths.append(path)
        return sorted(paths)


class Files(Sequence[Path]):
    """The files of the images at `paths`. A `Path` is made at each access, since millions of them take gigabytes."""

    def __init__(self, index: ImageIndex, paths: list[str]) -> None:
        self._index, self._paths = index, paths

    def __len__(self) -> int:
        return len(self._paths)

    def __getitem__(self, position: Any) -> Any:  # one position: nobody asks for a slice
        return self._index.file(self._paths[position])


def _walk(folder: Path) -> Iterator[str]:
    """Yield the relative paths of all images but dot-files and those in dot-folders. Links are followed, once each."""
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
            if is_image(name) and not name.startswith("."):
                yield name if base == "." else f"{base}/{name}"
