"""The rows of sample_submission.csv with their images."""

import re
from pathlib import Path

import pandas as pd

from supcon.competition.columns import id_column, image_column
from supcon.competition.index import ImageIndex, part_of
from supcon.competition.sample import Sample, check_unique
from supcon.errors import UserError
from supcon.settings.settings import DataSettings
from supcon.storage.tables import read_table

SAMPLE, TRAIN, TEST = "sample_submission.csv", "train.csv", "test.csv"
_OTHER_NAMES = {  # what hosts also call them, letters alone
    SAMPLE: {"samplesubmission"},
    TRAIN: {"train", "training", "trainlabels", "traininglabels"},
    TEST: {"test", "testing"},
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


def sample_rows(
    path: Path | None, sample: Sample, settings: DataSettings, index: ImageIndex, *, allow_extra: bool = False
) -> pd.DataFrame:
    """Return the sample's ids with the paths of their images, in its order: columns id, path.

    Where the table at `path`, test.csv, has a column of images, that names them; else the ids do. Raises `UserError`
    where a row has no image; and, without `allow_extra`, where there are test rows or test images that the sample does
    not list.
    """
    names = sample.ids
    if path is not None:
        table = read_table(path)
        ids = id_column(table, path, sample, settings)
        check_unique(table[ids], path)
        _check_ids(sample, set(table[ids]), path.name, allow_extra)
        images = image_column(table, path, ids, "test", index, settings)
        names = table.set_index(ids, drop=False)[images].loc[sample.ids]
    paths = [index.find(name, "test", SAMPLE) for name in names.to_numpy(dtype=object)]
    if path is None and not allow_extra:
        test_images = {path for path in index.paths if part_of(path) == "test"}
        _check_covers(sample, paths, test_images)
    return pd.DataFrame({"id": sample.ids, "path": paths})


def _check_ids(sample: Sample, ids: set[str], name: str, allow_extra: bool) -> None:
    wanted = set(sample.ids)
    odd = sorted(wanted - ids if allow_extra else ids ^ wanted)
    if odd:
        table, other = (name, SAMPLE) if odd[0] in ids else (SAMPLE, name)
        raise UserError(f"{table} has the id {odd[0]!r}, which {other} lacks ({len(odd)} such ids): mend one")


def _check_covers(sample: Sample, paths: list[str], test_images: set[str]) -> None:
    lacking = sorted(test_images - set(paths))
    if lacking:
        raise UserError(
            f"{sample.path} has no row for {lacking[0]} ({len(lacking)} such test images): copy the host's file again,"
            " or move images that are not asked for elsewhere"
        )
