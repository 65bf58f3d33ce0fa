"""The host's files as one validated table: train rows with labels, test rows, the form of the submission."""

from collections.abc import Hashable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.competition.builtin import check_builtin
from supcon.competition.form import Form
from supcon.competition.index import SAMPLE, TEST, TRAIN, Files, ImageIndex, find_table, part_of
from supcon.competition.sample import Sample, cells_of, check_unique, from_one_hot, read_rows, read_sample, sample_rows
from supcon.competition.told import combined_labels, told_form
from supcon.competition.unpack import unpack_zips
from supcon.errors import UserError
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
    unpacked: Path | None = None  # folder of the files from the host's zips
    notes: list[str] = field(default_factory=list)  # what was read otherwise than as it stands, a line a kind

    @property
    def classes(self) -> list[str]:
        """Class names, sorted by code point."""
        return sorted(self.train["label"].unique())

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
    sample, index = read_sample(sample_path), ImageIndex(folders)
    train_path, test_path = find_table(folders, TRAIN), find_table(folders, TEST)
    if not index.paths:
        raise UserError(f"{folder} has no images: put the host's image folders, or the zip that holds them, there")
    if train_path is None:
        train = _train_from_folders(folder, settings, index)
    else:
        train = _train_from_csv(train_path, sample, settings, index)
    if train["label"].nunique() < 2:
        raise UserError(
            f"{train_path or folder}: the training rows have a single class; a classifier needs two or more"
        )
    notes = list(filter(None, [combined_labels(train["label"])]))
    form = told_form(sample, sorted(train["label"].unique()), settings, notes)
    test = sample_rows(
        test_path, sample, settings, index, hidden=lambda names: _are_hidden(names, index, train["path"])
    )
    if len(test) == 0:
        notes.append(
            f"none of the {len(sample.ids):,} rows of {sample.path.name} has an image here, as where the host hides the"
            " test set: no submission can be written here, ./run.sh bundle packs the notebook that writes it there"
            f" (where the host gives test images, put them into {folder})"
        )
    index.forget_names()
    return Competition(folder, sample, form, train, test, index, unpacked, notes)


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
    rest = [name for name in table.columns if name not in others]
    marked = [name for name in rest if sample.one_hot and name in set(sample.targets)]
    if settings.label_column:
        labels = cells_of(table, path, settings.label_column, "label_column")
    elif len(marked) > 1 and (len(marked) == len(sample.targets) or not _columns_of_classes(table, sample, rest)):
        labels = from_one_hot(table[marked], path)
    else:
        labels = table[_label_column(table, path, sample, rest)]
    empty = np.flatnonzero((labels == "").to_numpy())
    if len(empty):
        raise UserError(
            f"{path}: row {empty[0] + 2} ({table.iloc[empty[0], 0]!r}) has no label; {len(empty)} such rows"
        )
    return labels


def _label_column(table: pd.DataFrame, path: Path, sample: Sample, rest: list[str]) -> str:
    if sample.one_hot:
        candidates = _columns_of_classes(table, sample, rest)
    else:
        candidates = sample.targets if sample.targets[0] in table.columns else rest
    if len(candidates) != 1:
        wanted = "holds the classes of" if sample.one_hot else f"is called {sample.targets[0]!r} as in"
        raise UserError(
            f"{path}: no single column {wanted} {sample.path.name}:"
            f" name one of {candidates or rest} with --data.label_column"
        )
    return candidates[0]


def _columns_of_classes(table: pd.DataFrame, sample: Sample, rest: list[str]) -> list[str]:
    """Return the columns of `rest` whose cells are the classes of the sample's columns: all, or else several of them.

    The latter must be the only column with any such cell: a 0 or 1 may mean something else.
    """
    wanted, exact, touching = set(sample.targets), list[str](), list[tuple[str, bool]]()
    for name in rest:
        cells = set(table[name])
        if cells == wanted:
            exact.append(name)
        elif cells & wanted:
            touching.append((name, cells <= wanted and len(cells) > 1))
    return exact or [name for name, fits in touching if fits and len(touching) == 1]


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


def _are_hidden(names: pd.Series, index: ImageIndex, train: pd.Series) -> bool:
    """Say whether no image is left for the test rows beside those at the paths `train`; quickly where the first is."""
    for part in ("test", "train"):  # an image in a folder of the other part is misplaced, not hidden
        with suppress(UserError):
            if not (train == index.find(names.iloc[0], part, SAMPLE)).any():
                return False
    taken = set(train)
    return all(path in taken or part_of(path) == "train" for path in index.paths)
