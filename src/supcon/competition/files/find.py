"""Which image a cell of a table means: the one that is called so, or else the only one that may be meant."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from supcon.competition.files.index import ImageIndex, part_of
from supcon.competition.files.loose_names import LooseNames, difference, sharing_most_folders
from supcon.errors import UserError
from supcon.storage.files import sha256_file

ABSENT = ".absent/"  # begins the path of an image that is not there: the index holds no folder that begins with a dot

Hashes = Callable[[Sequence[Path]], Sequence[str]]  # of the files' contents


@dataclass
class _Tally:
    """How often something was met, and the first time."""

    count: int = 0
    example: tuple[str, str] = ("", "")

    def add(self, first: str, second: str) -> None:
        self.example = self.example if self.count else (first, second)
        self.count += 1


@dataclass
class Absent:
    """Rows of a table that have no image."""

    part: str
    table: str
    rows: int  # of the table
    names: list[str]  # of the absent images
    misplaced: str = ""  # an image of the first name, in a folder of the other part
    unnamed: str = ""  # which images have no row

    def __str__(self) -> str:
        where = f" ({self.misplaced} is not in a folder of {self.part} images)" if self.misplaced else ""
        lacking = f"{len(self.names):,} of {self.rows:,} rows have no image"
        unnamed = f"; {self.unnamed}" if self.unnamed else ""
        return f"{self.table}: {lacking}, first the id {self.names[0]!r}{where}{unnamed}"


def is_absent(path: str) -> bool:
    """Say whether this is the path of an image that is not there."""
    return path.startswith(ABSENT)


def hash_files(files: Sequence[Path]) -> list[str]:
    """Return the SHA-256 of each file."""
    return [sha256_file(file) for file in files]


@dataclass
class ImageFinder:
    """Finds the images that tables name, and keeps what was taken otherwise than as it stands."""

    index: ImageIndex
    hashes: Hashes = hash_files
    absent: list[Absent] = field(default_factory=list)
    copies: set[str] = field(default_factory=set)  # images that equal another of their name, which is taken
    remarks: list[str] = field(default_factory=list)  # on the tables
    _found: list[list[str]] = field(default_factory=list)  # of each table
    _loosely: dict[str, tuple[str, str]] = field(default_factory=dict)  # path -> name and table that loosely meant it
    _differences: dict[str, _Tally] = field(default_factory=dict)  # by kind: paths and names
    _copies: _Tally = field(default_factory=_Tally)

    def find_all(self, names: Sequence[str], part: str, table: str) -> list[str]:
        """Return the paths of the images that `table` calls `names`, with or without their folders and suffix.

        Where several images fit, those in a folder of `part` ("train" or "test") count, then those with most of the
        name's folders; equal contents are one image. Where none fits, the only one counts that may be meant (see
        `loose_names`) and that no other name means. Where there is none at all, the path begins with `ABSENT`. Raises
        `UserError` where several images are left.
        """
        paths = self._resolved(names, lambda name: self.index.matches(name, part), part, table)
        self._found.append(paths)
        if self._loosely and (taken := set(paths) & self._loosely.keys()):
            path = min(taken)
            self._refuse_two(path, names[paths.index(path)], table)
        if "" in paths:
            self._find_loosely(paths, names, part, table)
        return paths

    def resembles(self, name: str, part: str) -> bool:
        """Say whether an image may be meant by `name`."""
        return bool(self._resembling(name, part))

    def leave_out_doubled(self) -> None:
        """Leave out images that lie once more in a folder within their own, of the same name, with equal contents."""
        doubled = self.index.doubled()
        pairs = [[outer, inner] for inner, outer in doubled.items()]
        equal = {pair[1] for pair, same in zip(pairs, self.are_equal(pairs), strict=True) if same}
        if equal:
            self.index.leave_out(equal)

    def are_equal(self, groups: Sequence[Sequence[str]]) -> list[bool]:
        """Say of each group of images whether their contents are equal; such groups are told of."""
        paths = [path for group in groups for path in group]
        hashes = dict(zip(paths, self.hashes([self.index.file(path) for path in paths]), strict=True)) if paths else {}
        equal = [len({hashes[path] for path in group}) == 1 for group in groups]
        for group in (group for group, same in zip(groups, equal, strict=True) if same):
            self._copies.add(group[0], group[1])
            self.copies.update(group[1:])
        return equal

    def require_present(self, bad_images: str, hidden: str = "", *, settable: bool = True) -> None:
        """Raise `UserError` with the number of absent images, unless `data.bad_images` is "skip" and some are there.

        `hidden` says where they may be; `settable` whether the user can set `data.bad_images` here.
        """
        nothing_left = [absent for absent in self.absent if absent.part == "train" and len(absent.names) == absent.rows]
        if self.absent and (bad_images == "error" or nothing_left):
            cure = hidden or "is the image folder complete? Copy it again"
            cure += "" if nothing_left or not settable else ", or go on without such images: --data.bad_images skip"
            raise UserError(f"{'; '.join(map(str, self.absent))} below {self.index.folders[0]}: {cure}")

    def forget_absent(self, part: str) -> None:
        """Forget that rows of `part` have no image: nobody is to be told, or asked for them."""
        self.absent = [absent for absent in self.absent if absent.part != part]

    def forget_names(self) -> None:
        """Free the memory of the search by name."""
        self.index.forget_names()
        self.__dict__.pop("_loose", None)
        self._found.clear()

    def notes(self) -> list[str]:
        """Return a line for each kind of what was taken otherwise than as it stands."""
        lines = [
            f"{tally.count:,} images have other names than in the tables ({kind}), first {tally.example[0]!r} for"
            f" {tally.example[1]!r}"
            for kind, tally in self._differences.items()
        ]
        first, second = self._copies.example
        if self._copies.count:
            lines.append(
                f"{self._copies.count:,} images lie there twice with equal contents; used is {first}, not {second}"
            )
        treated = {"train": "left out of training", "test": "given the class shares"}
        return self.remarks + lines + [f"{absent}: such rows are {treated[absent.part]}" for absent in self.absent]

    def _resembling(self, name: str, part: str) -> list[str]:
        return [path for path in self._loose.fits(name) if part_of(path) in ("", part)]

    @cached_property
    def _loose(self) -> LooseNames:
        return LooseNames(self.index.paths)

    def _find_loosely(self, paths: list[str], names: Sequence[str], part: str, table: str) -> None:
        """Fill the empty ones among `paths`, in place."""
        taken = {path for found in self._found for path in found if path not in self._loosely}
        lacking = [position for position, path in enumerate(paths) if not path]
        wanted = [names[position] for position in lacking]
        absent = Absent(part, table, len(names), [])

        def not_taken(name: str) -> list[str]:
            return [path for path in self._resembling(name, part) if path not in taken]

        found = self._resolved(wanted, not_taken, part, table)
        for position, name, path in zip(lacking, wanted, found, strict=True):
            if not path:
                absent.names.append(name)
            elif path not in self._loosely:
                self._loosely[path] = name, table
                self._differences.setdefault(difference(name, path), _Tally()).add(path, name)
            elif self._loosely[path][0] != name:
                self._refuse_two(path, name, table)
            paths[position] = path or ABSENT + re.sub(r"[^\w.-]", "_", name)[-60:]
        if absent.names:
            other = {"train": "test", "test": "train"}[part]
            absent.misplaced = next((path for path in self.index.matches(absent.names[0], other) if part_of(path)), "")
            self.absent.append(absent)

    def _refuse_two(self, path: str, name: str, table: str) -> None:
        other, other_table = self._loosely[path]
        raise UserError(
            f"{table}: the id {name!r}, and {other_table}: the id {other!r}, both seem to mean {path}: give the ids the"
            " names of their images"
        )

    def _resolved(
        self, names: Sequence[str], fits_of: Callable[[str], Sequence[str]], part: str, table: str
    ) -> list[str]:
        """Return the one image of those that fit each name; "" where none does."""
        paths, several = list[str](), dict[str, Sequence[str]]()
        for name in names:
            fits = _narrowed(fits_of(name), name, part)
            if len(fits) > 1:
                several[name] = fits
            paths.append(fits[0] if fits else "")
        for name, same in zip(several, self.are_equal(list(several.values())), strict=True):
            if not same:
                first, second = several[name][:2]
                raise UserError(f"{table}: the id {name!r} fits {first} and {second}: give the id its folder or suffix")
        return paths


def _narrowed(paths: Sequence[str], name: str, part: str) -> Sequence[str]:
    """Return of several paths those in a folder of `part`, and of these those with most of the name's folders."""
    if len(paths) > 1:
        paths = [path for path in paths if part_of(path) == part] or paths
    return sharing_most_folders(paths, name) if len(paths) > 1 else paths
