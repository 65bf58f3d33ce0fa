"""The host's files as one validated table: train rows with labels, test rows, the sample submission."""

import re
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from supcon.artifacts.files import read_csv
from supcon.config.settings import DataSettings
from supcon.errors import UserError

IMAGE_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif"}
SAMPLE, TRAIN, TEST = "sample_submission.csv", "train.csv", "test.csv"


@dataclass(frozen=True)
class Competition:
    """What the host gave. All cells are strings; paths are relative to `folder`, with forward slashes."""

    folder: Path
    train: pd.DataFrame  # id, path, label, group ("" without groups)
    test: pd.DataFrame  # id, path; in the order of sample_submission.csv
    id_column: str
    target_column: str

    @property
    def classes(self) -> list[str]:
        """Class names, sorted by code point."""
        return sorted(self.train["label"].unique())

    @property
    def paths(self) -> list[str]:
        """Every image: train rows first, then test rows."""
        return [*self.train["path"], *self.test["path"]]


def read_competition(folder: Path, settings: DataSettings) -> Competition:
    """Read input/ as the host's layout: `train.csv` with an image folder, or one folder a class.

    Raises `UserError` naming the file, column or row that does not fit, and the cure.
    """
    sample = _read_sample(folder / SAMPLE)
    id_column, target_column = sample.columns
    images = _ImageIndex(folder)
    if (folder / TRAIN).exists():
        train = _train_from_csv(folder / TRAIN, id_column, target_column, settings, images)
    else:
        train = _train_from_folders(folder, settings, images)
    test_ids = sample[id_column]
    if (folder / TEST).exists():
        _check_same_ids(folder / TEST, read_csv(folder / TEST), id_column, test_ids)
    test = pd.DataFrame({"id": test_ids, "path": [images.find(name, "test", SAMPLE) for name in test_ids]})
    _check_unique(train["id"], TRAIN if (folder / TRAIN).exists() else "the class folders")
    _check_unique(test["id"], SAMPLE)
    if train["label"].nunique() < 2:
        raise UserError(f"{folder}: the training rows have a single class; a classifier needs two or more")
    return Competition(folder, train, test, id_column, target_column)


def _read_sample(path: Path) -> pd.DataFrame:
    if not path.exists():
        raise UserError(f"{path} is missing: put the host's files into {path.parent}, this one says what to submit")
    sample = read_csv(path)
    if len(sample.columns) != 2:
        raise UserError(f"{path} has the columns {list(sample.columns)}; needed are two: id and label")
    if sample.empty:
        raise UserError(f"{path} has no rows: copy the host's file again")
    return sample


def _train_from_csv(
    path: Path, id_column: str, target_column: str, settings: DataSettings, images: "_ImageIndex"
) -> pd.DataFrame:
    table = read_csv(path)
    ids = table[_column(table, id_column, path, "id")]
    labels = table[_column(table, settings.label_column or target_column, path, "--data.label_column")]
    empty = labels.index[labels == ""]
    if len(empty):
        raise UserError(f"{path}: row {empty[0] + 2} ({ids[empty[0]]}) has no label; {len(empty)} such rows in all")
    groups = table[_column(table, settings.group_column, path, "--data.group_column")] if settings.group_column else ""
    paths = [images.find(name, "train", path.name) for name in ids]
    return pd.DataFrame({"id": ids, "path": paths, "label": labels, "group": groups})


def _column(table: pd.DataFrame, name: str, path: Path, setting: str) -> str:
    if name not in table.columns:
        cure = f"rename the column to {name!r}" if setting == "id" else f"name one with {setting}"
        raise UserError(f"{path} has no column {name!r}, only {list(table.columns)}: {cure}")
    return name


def _train_from_folders(folder: Path, settings: DataSettings, images: "_ImageIndex") -> pd.DataFrame:
    if settings.group_column:
        raise UserError(f"--data.group_column {settings.group_column}: {folder} has no {TRAIN} to hold that column")
    rows = []
    for path in images.paths:
        parts = path.split("/")
        if len(parts) >= 3 and _part_of(path) != "test":
            rows.append((f"{parts[-2]}/{parts[-1]}", path, parts[-2]))
    if not rows:
        raise UserError(f"{folder} has neither {TRAIN} nor one folder a class (such as train/CLASS/IMAGE)")
    return pd.DataFrame(rows, columns=["id", "path", "label"]).assign(group="")


def _check_same_ids(path: Path, table: pd.DataFrame, id_column: str, sample_ids: pd.Series) -> None:
    ids, wanted = set(table[_column(table, id_column, path, "id")]), set(sample_ids)
    if ids != wanted:
        odd = sorted(ids ^ wanted)[0]
        where, other = (path.name, SAMPLE) if odd in ids else (SAMPLE, path.name)
        raise UserError(f"{where} has the id {odd!r}, which {other} lacks ({len(ids ^ wanted)} such ids): mend one")


def _check_unique(ids: pd.Series, name: str) -> None:
    twice = ids[ids.duplicated()]
    if len(twice):
        raise UserError(f"{name}: the id {twice.iloc[0]!r} stands in two rows; {len(twice)} rows repeat an id: mend it")


def _part_of(path: str) -> str:
    """Return "train" or "test" where the top folder's name has that word, else ""."""
    words = re.split(r"[^a-z]+", path.rpartition("/")[0].split("/")[0].lower())
    return next((part for part in ("train", "test") if part in words or f"{part}ing" in words), "")


class _ImageIndex:
    """Every image file below a folder, found by id: with or without its suffix, with or without its folders."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.paths = sorted(
            path.relative_to(folder).as_posix()
            for path in folder.rglob("*")
            if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith(".")
        )
        self._by_name: dict[str, list[str]] = defaultdict(list)
        for path in self.paths:
            name = path.rsplit("/", 1)[-1]
            for key in {path, path.rsplit(".", 1)[0], name, name.rsplit(".", 1)[0]}:
                self._by_name[key].append(path)

    def find(self, name: str, part: str, table: str) -> str:
        """Return the path of the image that `table` calls `name`; `part` ("train" or "test") settles ties."""
        found = [path for path in self._by_name.get(name, []) if _part_of(path) in ("", part)]
        if len(found) > 1:
            found = [path for path in found if _part_of(path) == part]
        if len(found) == 1:
            return found[0]
        if found:
            raise UserError(
                f"{table}: the id {name!r} fits {found[0]} and {found[1]}: give the id its folder or suffix"
            )
        raise UserError(f"{table}: the id {name!r} has no image below {self._folder}: is the image folder complete?")
