"""The host's files as one validated table: train rows with labels, test rows, the form of the submission."""

import os
import re
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.competition.builtin import check_builtin
from supcon.competition.files.containers import TABLES
from supcon.competition.files.find import Absent, ImageFinder, is_absent
from supcon.competition.files.image_tables import add_images
from supcon.competition.files.index import SAMPLE, TEST, Files, ImageIndex, find_table, part_of
from supcon.competition.files.loose_names import loosened
from supcon.competition.files.packed import packed_otherwise, packed_table, unread_images
from supcon.competition.files.unpack import UNPACKED, unpack_archives
from supcon.competition.folders import train_from_folders
from supcon.competition.form import Form
from supcon.competition.rows import find_train, read_rows, sample_rows
from supcon.competition.sample import Sample, cells_of, from_one_hot, read_sample, shown_columns
from supcon.competition.sample_form import combined_labels, form_of_sample, missing_labels
from supcon.competition.spelling import respelled, spelling_key, spelling_of
from supcon.errors import UserError
from supcon.images.formats import unread as unread_forms
from supcon.images.hashes import content_hashes
from supcon.settings.settings import DataSettings


@dataclass(frozen=True)
class Competition:
    """The host's files. All cells are strings; paths are relative to a folder of `index`, with forward slashes."""

    folder: Path
    sample: Sample
    form: Form  # of the submission
    train: pd.DataFrame  # id, path, label, group ("" without groups)
    test: pd.DataFrame  # id, path; in the order of sample_submission.csv; without rows where the host hides the images
    index: ImageIndex
    notes: list[str] = field(default_factory=list)  # what was read otherwise than as it stands, a line a kind
    spelling: dict[str, str] = field(default_factory=dict)  # labels that are written otherwise than in the host's files

    @property
    def classes(self) -> list[str]:
        """Class names, sorted by code point."""
        return sorted(self.train["label"].unique())

    @property
    def unpacked(self) -> Path | None:
        """The folder of the files from the host's archives."""
        return next((folder for folder in self.index.folders if folder.name.startswith(UNPACKED)), None)

    @property
    def hides_test(self) -> bool:
        """Whether the host keeps all test images to itself: no submission can be written here."""
        return len(self.test) == 0

    @property
    def paths(self) -> list[str]:
        """Relative paths of all images: training rows first, then test rows."""
        return [*self.train["path"].to_numpy(dtype=object), *self.test["path"].to_numpy(dtype=object)]

    @property
    def files(self) -> Sequence[Path]:
        """The files of the images at `paths`."""
        return Files(self.index, self.paths)


def read_competition(folder: Path, cache: Path, settings: DataSettings) -> Competition:
    """Read the host's files in input/: archives or their content, a `train.csv` with images or one folder a class.

    Archives are unpacked into `cache`. Raises `UserError` naming the file, column or row that does not fit, and the
    cure.
    """
    check_builtin(folder, settings.builtin)
    sample, index, notes = _open_files(folder, cache, settings)
    finder = ImageFinder(index, partial(content_hashes, cache))
    finder.leave_out_doubled()
    train, test, source = _read_rows(folder, sample, settings, finder)
    if _are_hidden(test, train, finder):
        unread = next((line for path, line in index.unread.items() if part_of(f"{path}/") == "test"), "")
        if unread := unread or unread_images(index.folders, lambda path: part_of(f"{path}/") == "test"):
            raise UserError(unread)
        test = test.iloc[:0]
        finder.forget_absent("test")
        notes.append(
            f"no row of {sample.path.name} has an image here: the host seems to keep the test images to itself."
            " Training and scores work, no submission can be written here: ./run.sh bundle packs the notebook that"
            f" writes it there (where the host gives test images, put them into {folder})"
        )
    finder.require_present(settings.bad_images, _hidden(index, finder.absent))
    spelling = spelling_of(train["label"], source, sample, settings, notes)
    train["label"] = respelled(train["label"], spelling)
    if train["label"].nunique() < 2:
        raise UserError(f"{source}: all training rows are of one class; a classifier needs two or more")
    notes += filter(None, [combined_labels(train["label"]), missing_labels(train["label"])])
    form = form_of_sample(sample, sorted(train["label"].unique()), settings, notes)
    if sample.id_column != sample.columns[0]:
        notes.append(f"{sample.path.name}: ids are in the column {sample.id_column!r}, which is not the first")
    notes += finder.notes()
    finder.forget_names()
    return Competition(folder, sample, form, train, test, index, notes, spelling)


def _open_files(folder: Path, cache: Path, settings: DataSettings) -> tuple[Sample, ImageIndex, list[str]]:
    """Unpack what is packed; return the sample, the images and tables that there are, and what is to be told."""
    index = ImageIndex([folder])
    unpacked = unpack_archives(folder, cache, {path.parent for path in index.archives})
    if unpacked is not None:
        index.add(unpacked)
    sample_path = find_table(index, SAMPLE)
    if sample_path is None:
        raise UserError(
            packed_otherwise(folder, tables=True)
            or f"{folder / SAMPLE} is missing: put the host's files into {folder}, this one says what to submit"
        )
    sample = read_sample(sample_path)
    notes = add_images(index, cache, sample, settings)
    if not index.paths:
        raise UserError(_no_images(index))
    return sample, index, notes


def _read_rows(
    folder: Path, sample: Sample, settings: DataSettings, finder: ImageFinder
) -> tuple[pd.DataFrame, pd.DataFrame, Path]:
    """Return the training rows, the test rows, and the table or folder that the former come from."""
    train_path, test_path = find_train(sample, finder), find_table(finder.index, TEST)
    if train_path is not None:
        train = _train_from_csv(train_path, sample, settings, finder)
        return train, sample_rows(test_path, sample, settings, finder), train_path
    unread = next((line for path, line in finder.index.unread.items() if path.endswith(TABLES)), "")
    if packed := unread or packed_table(folder):
        raise UserError(packed)
    test = sample_rows(test_path, sample, settings, finder)
    return train_from_folders(folder, sample, settings, finder, set(test["path"])), test, folder


def _hidden(index: ImageIndex, absent: Sequence[Absent]) -> str:
    """Return which file hides the images that are absent, and what helps; "" where there is none."""
    if not absent:
        return ""
    hidden = next(iter(index.unread.values()), "") or packed_otherwise(index.folders[0])
    parts = [table.part for table in absent if len(table.names) == table.rows]  # nothing is there
    return hidden or next((line for path, line in index.without_images.items() if part_of(f"{path}/") in parts), "")


def _no_images(index: ImageIndex) -> str:
    folder = index.folders[0]
    if hidden := next(iter(index.unread.values()), "") or packed_otherwise(folder):
        return hidden
    if index.without_images:
        first, *more = index.without_images.values()
        return first + f" ({len(more):,} more such files)" * bool(more)
    names = (name for place in index.folders for _, _, files in os.walk(place, followlinks=True) for name in files)
    if others := unread_forms(names):
        return (
            f"{folder} has no images that are read, but {others}: write them as PNG or TIFF files, named by their ids"
        )
    return f"{folder} has no images: put the host's image folders, or the zip that holds them, there"


def _train_from_csv(path: Path, sample: Sample, settings: DataSettings, finder: ImageFinder) -> pd.DataFrame:
    rows = read_rows(path, "train", sample, settings, finder)
    labels = _train_labels(rows.table, path, sample, [*rows.others, settings.group_column], settings)
    paths = finder.find_all(rows.images.to_list(), "train", path.name)
    group = settings.group_column and cells_of(rows.table, path, settings.group_column, "group_column").str.strip()
    return pd.DataFrame({"id": rows.ids, "path": paths, "label": labels, "group": group})


def _train_labels(
    table: pd.DataFrame, path: Path, sample: Sample, others: list[Hashable], settings: DataSettings
) -> pd.Series:
    """Return the label of every row, unchanged, as a string.

    The settings may name the column. Otherwise, where the sample has a column for each class, labels are in columns of
    0 and 1 with the names of the classes, or in the one column whose cells are these names. Where the sample has one
    column of labels, they are in the column of that name, or in the only column that is not one of `others`. Raises
    `UserError` naming the columns to choose from, or the row without a label.
    """
    rest = [name for name in table.columns if name not in others]
    marked = [name for name in rest if sample.one_hot and name in set(sample.targets)]
    if settings.label_column:
        labels = cells_of(table, path, settings.label_column, "label_column")
    elif len(marked) > 1 and (len(marked) == len(sample.targets) or not _columns_of_classes(table, sample, rest)):
        labels = from_one_hot(table[marked], path)
    else:
        labels = table[_label_column(table, path, sample, rest)]
    empty = np.flatnonzero(labels.isin([label for label in labels.unique() if not label.strip()]).to_numpy())
    if len(empty):
        raise UserError(
            f"{path}: row {empty[0] + 2} ({table.iloc[empty[0], 0]!r}) has no label ({len(empty):,} such): remove such"
            " rows, or name another column with --data.label_column"
        )
    return labels


def _label_column(table: pd.DataFrame, path: Path, sample: Sample, rest: list[str]) -> str:
    if sample.one_hot:
        candidates = _columns_of_classes(table, sample, rest)
    else:
        alike = [name for name in rest if loosened(name) == loosened(sample.targets[0])]
        named = sample.targets if sample.targets[0] in table.columns else alike
        candidates = named or _with_labels(table, sample, rest)
    if len(candidates) != 1:
        if sample.one_hot and any(name in table.columns for name in sample.targets):
            raise UserError(
                f"{sample.path} has the columns {shown_columns(sample.targets)} beside the ids: needed are one column a"
                f" class, or one column of labels: remove the others from it (--data.label_column names {path.name}'s)"
            )
        if sample.one_hot:
            wanted = f"the classes of {sample.path.name}, {shown_columns(sample.targets)}"
        else:
            wanted = f"labels: none is called {sample.targets[0]!r} as in {sample.path.name}"
        raise UserError(
            f"{path}: no single column is seen to hold {wanted}: name one of {candidates or rest} with"
            " --data.label_column"
        )
    return candidates[0]


def _with_labels(table: pd.DataFrame, sample: Sample, rest: list[str]) -> list[str]:
    """Return the columns of `rest` that may hold the labels: of words in the sample, one at least must be in them."""
    words = {spelling_key(cell) for cell in sample.told if re.search(r"[^\W\d_]", cell)}
    return [name for name in rest if not words or words & set(map(spelling_key, table[name].unique()))]


def _columns_of_classes(table: pd.DataFrame, sample: Sample, rest: list[str]) -> list[str]:
    """Return the columns of `rest` whose cells are the classes of the sample's columns: all, or else several of them.

    The latter must be the only column with any such cell, of at least two classes: a 0 or 1 may mean something else.
    Where no column holds all, labels may differ by how they are written.
    """
    exact = [name for name in rest if set(table[name]) == set(sample.targets)]
    if exact:
        return exact
    keys = {name: set(map(spelling_key, table[name].unique())) for name in rest}
    wanted = set(map(spelling_key, sample.targets))
    touching = [name for name in rest if keys[name] & wanted]
    alone = [name for name in touching if len(touching) == 1 and len(keys[name] & wanted) > 1]
    return [name for name in rest if keys[name] == wanted] or alone


def _are_hidden(test: pd.DataFrame, train: pd.DataFrame, finder: ImageFinder) -> bool:
    """Say whether no image is left for the test rows beside those of the training rows."""
    first = test["path"].iloc[0]
    if not is_absent(first) and not (train["path"] == first).any():  # quickly, where nothing is odd
        return False
    taken = set(train["path"])
    if not all(is_absent(path) or path in taken for path in test["path"]):
        return False
    names = [name for absent in finder.absent if absent.part == "test" for name in absent.names]
    misplaced = (path for name in names for path in finder.index.matches(name, "train"))
    rest = (path for path in finder.index.paths if part_of(path) != "train")
    return taken.issuperset(misplaced) and taken.issuperset(rest)
