"""The host's files as one validated table: train rows with labels, test rows, the form of the submission."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from supcon.competition.columns import group_cells, id_column, image_column, train_labels
from supcon.competition.index import Files, ImageIndex, part_of
from supcon.competition.sample import Sample, check_unique, read_sample
from supcon.competition.sample_rows import SAMPLE, TEST, TRAIN, find_table, sample_rows
from supcon.competition.unpack import unpack_zips
from supcon.errors import UserError
from supcon.settings.settings import DataSettings
from supcon.storage.tables import read_table


@dataclass(frozen=True)
class Competition:
    """The host's files. All cells are strings; paths are relative to a folder of `index`, with forward slashes."""

    folder: Path
    sample: Sample
    train: pd.DataFrame  # id, path, label, group ("" without groups)
    test: pd.DataFrame  # id, path; in the order of sample_submission.csv
    index: ImageIndex
    unpacked: Path | None = None  # folder of the files from the host's zips

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
    _check_labels(train, sample, train_path or folder)
    test = sample_rows(test_path, sample, settings, index)
    index.forget_names()
    return Competition(folder, sample, train, test, index, unpacked)


def _train_from_csv(path: Path, sample: Sample, settings: DataSettings, index: ImageIndex) -> pd.DataFrame:
    table = read_table(path)
    ids = id_column(table, path, sample, settings)
    images = image_column(table, path, ids, "train", index, settings)
    labels = train_labels(table, path, sample, [ids, images, settings.group_column], settings)
    check_unique(table[ids], path)
    paths = [index.find(name, "train", path.name) for name in table[images].to_numpy(dtype=object)]
    return pd.DataFrame({"id": table[ids], "path": paths, "label": labels, "group": group_cells(table, path, settings)})


def _train_from_folders(folder: Path, settings: DataSettings, index: ImageIndex) -> pd.DataFrame:
    """Return a row for each image, with the folder that holds it as its class.

    Where a folder is called train or training, only images below it count.
    """
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
