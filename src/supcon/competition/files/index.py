"""The tables in the host's folders, and all image files there, by the names that tables give them."""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

from supcon.competition.files.archives import archive_kind
from supcon.errors import UserError
from supcon.images.formats import HEAD, sniff
from supcon.images.geometry import Unreadable
from supcon.images.members import is_container
from supcon.storage.pointers import regular

SAMPLE, TRAIN, TEST = "sample_submission.csv", "train.csv", "test.csv"
LABELS = "labels.csv"  # stands for train.csv where it names images
_OTHER_NAMES = {  # what hosts also call them, letters alone
    SAMPLE: {
        "samplesubmission", "samplesubmissions", "samplesub", "samplesubmit", "submissionsample", "submissionformat",
        "submissiontemplate", "submissionexample", "examplesubmission", "sample",
    },
    TRAIN: {"train", "training", "trainlabels", "traininglabels"},
    TEST: {"test", "testing"},
    LABELS: {
        *("labels", "label", "annotations", "annotation", "groundtruth", "metadata", "data", "images", "classes"),
        *("imagelabels", "imageslabels", "labelsimages", "imagemetadata", "imagesmetadata", "targets", "dataset"),
        *("trainlabel", "labelstrain", "traindata", "trainingdata", "trainset", "trainingset", "traindf"),
        *("trainmetadata", "trainingmetadata", "traingroundtruth", "traininggroundtruth", "trainannotations"),
        *("trainimages", "trainclasses", "trainlist", "trainsplit", "ytrain", "traintargets"),
    },
}  # fmt: skip
IMAGE_SUFFIXES = {
    *(".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".apng", ".webp", ".bmp", ".dib", ".tif", ".tiff", ".gif", ".avif"),
    *(".jp2", ".j2k", ".jpx", ".jpf", ".j2c", ".jpc", ".ppm", ".pgm", ".pbm", ".pnm", ".pfm", ".tga", ".icb", ".vda"),
    *(".vst", ".dds", ".ico", ".qoi", ".pcx", ".sgi", ".ras"),
    *(".heic", ".heif", ".jxl"),  # are not read, but are images: named rather than passed over
}
_OF_SYSTEMS = {"__MACOSX", "$RECYCLE.BIN", "System Volume Information", "lost+found", "@eaDir", "#recycle"}
_TABLE_SUFFIXES = (".csv", ".tsv")

_BESIDE = "data|sets?|datasets?|images?|imgs?|pics?|pictures?|photos?|files?|samples?|folders?|pngs?|jpe?gs?|val|valid"
_PART = re.compile(rf"(?<![a-z])(?:{_BESIDE})*(train|test)(?:ing)?(?:{_BESIDE})*(?![a-z])")


def find_table(index: "ImageIndex", name: str) -> Path | None:
    """Return the table called `name`, or else one whose name hosts use for it; None where no folder has either.

    The first folder that has such a table counts, and in it the table nearest to the top; of several at one depth that
    beside sample_submission.csv. Raises `UserError` where two tables are left.
    """
    found = tables_called(index, name)
    nearest = [path for path in found if _rank(path, index) == _rank(found[0], index)]
    if len(nearest) > 1 and name != SAMPLE and (sample := find_table(index, SAMPLE)):
        nearest = [path for path in nearest if path.parent == sample.parent] or nearest
    if len(nearest) > 1:
        if nearest[0].parent == nearest[1].parent:
            raise UserError(f"{nearest[0]} and {nearest[1].name}: rename the one that is meant to {name}")
        raise UserError(f"{nearest[0]} and {nearest[1]}: keep the one that is meant, or lay it nearer to the top")
    return nearest[0] if nearest else None


def tables_called(index: "ImageIndex", name: str) -> list[Path]:
    """Return the tables called `name`, or else those whose names hosts use for it, the nearest to the top first."""
    alike = [path for path in index.tables if is_called(path.stem, name)]
    return [path for path in index.tables if path.name == name] or alike


def is_called(stem: str, name: str) -> bool:
    """Say whether hosts use this name, without its suffix, for the table called `name`."""
    return re.sub("[^a-z]", "", stem.lower()) in _OTHER_NAMES[name]


def _rank(path: Path, index: "ImageIndex") -> tuple[int, int]:
    """Return the number of the folder that a table lies in, and its depth there."""
    for number, folder in enumerate(index.folders):
        if path.is_relative_to(folder):
            return number, len(path.relative_to(folder).parts)
    raise ValueError(path)


def is_image(name: str) -> bool:
    """Say whether a file has the suffix of an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES


def part_of(path: str) -> str:
    """Return "train" or "test" where a folder of `path` has that word in its name (the topmost counts), else ""."""
    return _part_of_folder(path.rpartition("/")[0])


@lru_cache(maxsize=1 << 16)
def _part_of_folder(folder: str) -> str:
    part = _PART.search(folder.lower())
    return part[1] if part else ""


@dataclass
class _Beside:
    """What lies beside the images of a folder."""

    tables: list[str] = field(default_factory=list)
    archives: list[str] = field(default_factory=list)
    containers: list[str] = field(default_factory=list)
    doubled: list[str] = field(default_factory=list)  # folders in a folder of the same name


class ImageIndex:
    """The images and tables below several folders, by relative path; the first folder that has a path counts."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self.folders: list[Path] = []
        self.paths: list[str] = []  # of the images, sorted
        self.tables: list[Path] = []  # of the first folder first, in it the nearest to the top
        self.archives: list[Path] = []
        self.containers: list[tuple[int, str]] = []  # files that may hold images: number of the folder, relative path
        self.unread: dict[str, str] = {}  # containers that cannot be read, by relative path: why, and the cure
        self.without_images: dict[str, str] = {}  # of other containers, that they hold none
        self._folder_of: dict[str, int] = {}  # of paths that the first folder does not have
        self._doubled: list[str] = []
        for folder in folders:
            self.add(folder)

    def add(self, folder: Path, *, before: bool = False) -> None:
        """List what lies below one more folder, its tables `before` all others."""
        beside, known = _Beside(), set(self.paths)
        images = set(_walk(folder, beside))
        if self.folders:
            self._folder_of |= dict.fromkeys(images - known, len(self.folders))
        self.paths = sorted(images | known)
        tables = [folder / path for path in sorted(beside.tables, key=lambda path: (path.count("/"), path))]
        self.tables = tables + self.tables if before else self.tables + tables
        self.archives += [folder / path for path in beside.archives]
        self.containers += [(len(self.folders), path) for path in sorted(beside.containers)]
        self._doubled += beside.doubled
        self.folders.append(folder)
        self.forget_names()

    def include(self, paths: Iterable[str], folder: int) -> None:
        """List images in a container that lies in the folder of this number; known paths stay what they are."""
        known = set(self.paths)
        new = [path for path in paths if path not in known]
        if folder:
            self._folder_of |= dict.fromkeys(new, folder)
        self.paths = sorted([*self.paths, *new])
        self.forget_names()

    @cached_property
    def _by_stem(self) -> dict[str, str | list[str]]:
        """The path, or the list of paths, of the files with a name (without its suffix)."""
        by_stem: dict[str, str | list[str]] = {}
        for path in self.paths:
            name = path.rpartition("/")[2]
            stem = name.rpartition(".")[0] or name
            known = by_stem.setdefault(stem, path)
            if known is not path:
                by_stem[stem] = [known, path] if isinstance(known, str) else [*known, path]
        return by_stem

    def forget_names(self) -> None:
        """Free the memory of the search by name; the next search builds it again."""
        self.__dict__.pop("_by_stem", None)

    def file(self, path: str) -> Path:
        """Return where the image at the relative `path` lies."""
        return self.folders[self._folder_of.get(path, 0)] / path

    def doubled(self) -> dict[str, str]:
        """Return images of folders that lie in a folder of the same name, with those of that one called alike."""
        if not self._doubled:
            return {}
        known, outer = set(self.paths), dict[str, str]()
        for folder in self._doubled:
            above, below = folder.rpartition("/")[0], [path for path in self.paths if path.startswith(f"{folder}/")]
            pairs = {path: above + path.removeprefix(folder) for path in below}
            outer |= {path: twin for path, twin in pairs.items() if twin in known}
        return outer

    def leave_out(self, paths: set[str]) -> None:
        """Forget that these images are there."""
        self.paths = [path for path in self.paths if path not in paths]
        self.forget_names()

    def matches(self, name: str, part: str) -> list[str]:
        """Return the paths of images, but those of the other part than `part` ("train" or "test"), that `name` fits.

        It fits with or without its folders and suffix; what remains of it without its first folders may fit too, since
        tables may name more folders than there are.
        """
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


def _walk(folder: Path, beside: _Beside) -> Iterator[str]:
    """Yield the relative paths of all images but dot-files and those in dot-folders. Links are followed, once each.

    A file without a suffix is an image where it begins as one. Tables, archives, files that may hold images, and
    folders in a folder of the same name are added to `beside`.
    """
    entered = set()
    for where, folders, files in os.walk(folder, followlinks=True):
        status = Path(where).stat()
        if (status.st_dev, status.st_ino) in entered:
            folders.clear()
            continue
        entered.add((status.st_dev, status.st_ino))
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in _OF_SYSTEMS)
        base = Path(where).relative_to(folder).as_posix()
        if base.split("/")[-2:-1] == base.split("/")[-1:]:
            beside.doubled.append(base)
        for name in files:
            if name.startswith("."):
                continue
            path = name if base == "." else f"{base}/{name}"
            if is_image(name) or ("." not in name and _begins_as_image(folder / path)):
                yield path
            elif name.lower().endswith(_TABLE_SUFFIXES):
                beside.tables.append(path)
            elif archive_kind(name):
                beside.archives.append(path)
            elif is_container(name):
                beside.containers.append(path)


def _begins_as_image(path: Path) -> bool:
    with suppress(OSError, Unreadable), open(path, "rb", opener=regular) as file:
        return bool(sniff(file.read(HEAD)))
    return False
