"""Image names that tables write otherwise than the files are called: what a Mac, Windows or a spreadsheet changes."""

import os
import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import takewhile
from urllib.parse import unquote

from supcon.competition.files.index import IMAGE_SUFFIXES

_FOREIGN_SUFFIXES = {".dcm", ".dicom"}  # that tables keep of images which the host has converted
_CODE_PAGES = ("utf-8", "cp1252", "cp850", "cp866", "cp932", "gbk", "euc-kr")  # that archives hold names in, unsaid
_OUTER_BLANKS = re.compile(r"[\s\ufeff\u200b]*(^|/|$|\.\w+$)[\s\ufeff\u200b]*")


def _without_suffix(name: str) -> str:
    """Return a name without its suffix, or suffixes, as of img0.jpg.png; a dot at its end is one, too."""
    stem, suffix = os.path.splitext(name.rstrip("."))
    return _without_suffix(stem) if suffix.lower() in IMAGE_SUFFIXES | _FOREIGN_SUFFIXES else name.rstrip(".")


_STEPS: tuple[tuple[str, Callable[[str], str]], ...] = (  # what may differ, and a form in which it does not
    ("backslashes", lambda name: name.replace("\\", "/")),
    ("percent signs", lambda name: unquote(name) if "%" in name else name),
    ("Unicode form", lambda name: unicodedata.normalize("NFKC", name)),
    ("blanks", lambda name: _OUTER_BLANKS.sub(r"\1", name)),
    ("suffix", _without_suffix),
    ("blanks and underscores", lambda name: re.sub(r"[ _]+", "_", name)),
    ("upper and lower case", lambda name: unicodedata.normalize("NFKC", name.casefold())),
    ("a fraction of 0", lambda name: re.sub(r"((?:^|/)\d+)\.0+(?=/|$)", r"\1", name)),
    ("leading zeros", lambda name: re.sub(r"(?<!\d)0+(?=\d)", "", name)),
)


def loosened(name: str) -> str:
    """Return a name in the form in which names are equal that differ by no more than how they are written."""
    for _, step in _STEPS:
        name = step(name)
    return name


def difference(name: str, path: str) -> str:
    """Return in what a name differs from the path that it loosely means: the last of the kinds that must be undone."""
    for kind, step in _STEPS:
        name, path = step(name), step(path)
        last = path.rpartition("/")[2]
        if name.rpartition("/")[2] in (last, last.rpartition(".")[0]):
            return kind
    return "code page"


def same_folders(name: str, path: str) -> int:
    """Return how many folders of two relative paths are the same, counted from the file upwards."""
    pairs = zip(name.split("/")[-2::-1], path.split("/")[-2::-1], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def sharing_most_folders(paths: Sequence[str], name: str, written: Callable[[str], str] = str) -> list[str]:
    """Return the paths that share most of the folders of `name`, once they are `written` as it is."""
    shared = [same_folders(name, written(path)) for path in paths]
    most = max(shared)
    return [path for path, count in zip(paths, shared, strict=True) if count == most]


class LooseNames:
    """The paths of images by their file names in the loosened form."""

    def __init__(self, paths: Sequence[str]) -> None:
        self._by_name: dict[str, list[str]] = {}
        for path in paths:
            for spelling in (path, *([] if path.isascii() else _recoded(path))):
                same = self._by_name.setdefault(loosened(spelling.rpartition("/")[2]), [])
                if not same or same[-1] != path:
                    same.append(path)

    def fits(self, name: str) -> list[str]:
        """Return the paths that `name` may mean; of several those that share most of its folders."""
        name = loosened(name)
        last = name.rpartition("/")[2]
        paths = self._by_name.get(last, []) if last else []
        return paths if len(paths) < 2 else sharing_most_folders(paths, name, loosened)


def _recoded(path: str) -> Iterator[str]:
    """Yield what a name may have been before an archive without a word on its code page was read as cp437."""
    with suppress(UnicodeEncodeError):
        written = path.encode("cp437")
        for page in _CODE_PAGES:
            with suppress(UnicodeDecodeError):
                yield written.decode(page)
