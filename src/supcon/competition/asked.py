"""The rows that sample_submission.csv asks for, with their images."""

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
_OTHER_NAMES = {  # the letters of what hosts call them as well
    SAMPLE: {"samplesubmission"},
    TRAIN: {"train", "training", "trainlabels", "traininglabels"},
    TEST: {"test", "testing"},
}


def find_table(folders: list[Path], name: str) -> Path | None:
    """Return the table of that name nearest to the top, in the first folder that has one; or one of a name like it.

    Raises `UserError` where two names are like it and none is it.
    """
    for folder in folders:
        tables = [path for depth in ("*.csv", "*/*.csv") for path in sorted(folder.glob(depth))]
        found = [path for path in tables if path.name == name]
        alike = [path for path in tables if re.sub("[^a-z]", "", path.stem.lower()) in _OTHER_NAMES[name]]
        if not found and len(alike) > 1 and alike[0].parent == alike[1].parent:
            raise UserError(f"{alike[0]} and {alike[1].name}: rename the one that is meant to {name}")
        if found or alike:
            return (found or alike)[0]
    return None


def asked_rows(
    path: Path | None, sample: Sample, settings: DataSettings, index: ImageIndex, *, exact: bool = True
) -> pd.DataFrame:
    """Return the sample's ids with the paths of their images, in its order: columns id, path.

    The table at `path`, test.csv, names the images where it has a column of them; else the ids do. Raises `UserError`
    where a row has no image; and, where `exact`, where there are test rows or images that the sample does not ask for.
    """
    names = sample.ids
    if path is not None:
        table = read_table(path)
        ids = id_column(table, path, sample, settings)
        check_unique(table[ids], path)
        _check_same(sample, set(table[ids]), path.name, exact)
        images = image_column(table, path, ids, "test", index, settings)
        names = table.set_index(ids, drop=False)[images].loc[sample.ids]
    paths = [index.find(name, "test", SAMPLE) for name in names.to_numpy(dtype=object)]
    if path is None and exact:
        in_folder = {path for path in index.paths if part_of(path) == "test"}
        _check_covers(sample, paths, in_folder)
    return pd.DataFrame({"id": sample.ids, "path": paths})


def _check_same(sample: Sample, ids: set[str], name: str, exact: bool) -> None:
    wanted = set(sample.ids)
    odd = sorted(ids ^ wanted if exact else wanted - ids)
    if odd:
        where, other = (name, SAMPLE) if odd[0] in ids else (SAMPLE, name)
        raise UserError(f"{where} has the id {odd[0]!r}, which {other} lacks ({len(odd)} such ids): mend one")


def _check_covers(sample: Sample, paths: list[str], in_folder: set[str]) -> None:
    lacking = sorted(in_folder - set(paths))
    if lacking:
        raise UserError(
            f"{sample.path} has no row for {lacking[0]} ({len(lacking)} such test images): copy the host's file again,"
            " or move images that are not asked for elsewhere"
        )
