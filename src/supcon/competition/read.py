"""The host's files as one validated table: train rows with labels, test rows, the form of the submission."""

import os
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.competition.builtin import check_builtin
from supcon.competition.index import SAMPLE, TEST, TRAIN, Files, ImageIndex, find_table, part_of
from supcon.competition.pixel_columns import unpack_pixels
from supcon.competition.sample import Sample, cells_of, check_unique, from_one_hot, read_rows, read_sample, sample_rows
from supcon.competition.unpack import unpack_zips
from supcon.errors import UserError
from supcon.images.formats import unread
from supcon.settings.settings import DataSettings


@dataclass(frozen=True)
class Competition:
    """The host's files. All cells are strings; paths are relative to a folder of `index`, with forward slashes."""

    folder: Path
    sample: Sample
    train: pd.DataFrame  # id, path, label, group ("" without groups)
    test: pd.DataFrame  # id, path; in the order of sample_submission.csv
    index: ImageIndex
    unpacked: Path | None = None  # folder of the files from the host's zips
    notes: list[str] = field(default_factory=list)  # what was read otherwise than as it stands, a line a kind

    @property
    def classes(self) -> list[str]:
        """Class names, sorted by code point."""
        return sorted(self.train["label"].unique())

    @property
    def paths(self) -> list[str]:
        """Relative paths of all images: training rows first, then test rows."""
        return [*self.train["path"].to_numpy(dtype=object), *self.test["path"].to_numpy(dtype=object)]

    @property
    def files(self) -> Sequence[Path]:
        """The files of the images at `paths`."""
        return Files(self.index, self.paths)


def read_competition(folder: Path, cache: Path, settings: DataSettings) -> Competition:
    """Read the host's files in input/: zips or their content, a `train.csv` with images or one folder a class.

    Zips are unpacked into `cache`. Raises `UserError` naming the file, column or row that does not fit, and the cure.
    """
    check_builtin(folder, settings.builtin)
    unpacked = unpack_zips(folder, cache)
    folders = [folder] if unpacked is None else [folder, unpacked]
    sample_path = find_table(folders, SAMPLE)
    if sample_path is None:
        raise UserError(
            f"{folder / SAMPLE} is missing: put the host's files into {folder}, this one says what to submit"
        )
    sample, index, notes = read_sample(sample_path), ImageIndex(folders), list[str]()
    if len(index.paths) < len(sample.ids) and (pixels := unpack_pixels(folders, cache, sample, settings)):
        folders, notes = [pixels[0], *folders], [pixels[1]]
        index = ImageIndex(folders)
    train_path, test_path = find_table(folders, TRAIN), find_table(folders, TEST)
    if not index.paths:
        raise UserError(_no_images(folder, folders))
    if train_path is None:
        train = _train_from_folders(folder, settings, index)
    else:
        train = _train_from_csv(train_path, sample, settings, index)
    _check_labels(train, sample, train_path or folder)
    test = sample_rows(test_path, sample, settings, index)
    index.forget_names()
    return Competition(folder, sample, train, test, index, unpacked, notes)


def _no_images(folder: Path, folders: list[Path]) -> str:
    names = (name for place in folders for _, _, files in os.walk(place, followlinks=True) for name in files)
    if others := unread(names):
        return (
            f"{folder} has no images that are read, but {others}: write them as PNG or TIFF files, named by their ids"
        )
    return f"{folder} has no images: put the host's image folders, or the zip that holds them, there"


def _train_from_csv(path: Path, sample: Sample, settings: DataSettings, index: ImageIndex) -> pd.DataFrame:
    table, ids, images = read_rows(path, "train", sample, settings, index)
    labels = _train_labels(table, path, sample, [ids.name, images.name, settings.group_column], settings)
    paths = [index.find(name, "train", path.name) for name in images.to_numpy(dtype=object)]
    group = settings.group_column and cells_of(table, path, settings.group_column, "group_column")
    return pd.DataFrame({"id": ids, "path": paths, "label": labels, "group": group})


def _train_labels(
    table: pd.DataFrame, path: Path, sample: Sample, others: list[Hashable], settings: DataSettings
) -> pd.Series:
    """Return the label of every row, unchanged, as a string.

    The settings may name the column. Otherwise, where the sample has a column for each class, labels are in columns of
    0 and 1 with the names of the classes, or in the one column whose cells are these names. Where the sample has one
    column of labels, they are in the column of that name, or in the only column that is not one of `others`. Raises
    `UserError` naming the columns to choose from, or the row without a label.
    """
    if settings.label_column:
        labels = cells_of(table, path, settings.label_column, "label_column")
    elif sample.one_hot and set(sample.targets) <= set(table.columns):
        labels = from_one_hot(table[sample.targets], path)
    else:
        labels = table[_label_column(table, path, sample, [name for name in table.columns if name not in others])]
    empty = np.flatnonzero((labels == "").to_numpy())
    if len(empty):
        raise UserError(
            f"{path}: row {empty[0] + 2} ({table.iloc[empty[0], 0]!r}) has no label; {len(empty)} such rows"
        )
    return labels


def _label_column(table: pd.DataFrame, path: Path, sample: Sample, rest: list[str]) -> str:
    if sample.one_hot:
        candidates = [name for name in rest if set(table[name]) == set(sample.targets)]
    else:
        candidates = sample.targets if sample.targets[0] in table.columns else rest
    if len(candidates) != 1:
        wanted = "holds the classes of" if sample.one_hot else f"is called {sample.targets[0]!r} as in"
        raise UserError(
            f"{path}: no single column {wanted} {sample.path.name}:"
            f" name one of {candidates or rest} with --data.label_column"
        )
    return candidates[0]


def _train_from_folders(folder: Path, settings: DataSettings, index: ImageIndex) -> pd.DataFrame:
    """Return a row for each image, its folder as its class; below a folder called train, where there is one, alone."""
    if settings.group_column:
        raise UserError(f"--data.group_column {settings.group_column}: {folder} has no {TRAIN} to hold that column")
    below_training = [path for path in index.paths if part_of(path) == "train"]
    rows = []
    for path in below_training or [path for path in index.paths if part_of(path) == ""]:
        *above, label, name = ["", *path.split("/")]
        if label and (not below_training or part_of("/".join([*above[1:], name]))):
            rows.append((f"{label}/{name}", path, label))
    if not rows:
        raise UserError(f"{folder} has neither {TRAIN} nor one folder a class (such as train/CLASS/IMAGE)")
    table = pd.DataFrame(rows, columns=["id", "path", "label"], dtype=str).assign(group="")
    check_unique(table["id"], folder)
    return table


def _check_labels(train: pd.DataFrame, sample: Sample, path: Path) -> None:
    classes = set(train["label"])
    if len(classes) < 2:
        raise UserError(f"{path}: the training rows have a single class; a classifier needs two or more")
    if not sample.one_hot:
        return
    extra = [name for name in sample.targets if name not in classes]
    if extra:
        raise UserError(
            f"{sample.path} has the column {extra[0]!r}, which is no class of {path.name} ({len(extra)} such columns):"
            " needed are the id and one column a class, or the id and one column of labels"
        )
    lacking = sorted(classes - set(sample.targets))
    if lacking:
        raise UserError(f"{path} has the class {lacking[0]!r}, for which {sample.path} has no column: mend one of them")
