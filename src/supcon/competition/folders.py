"""Training rows of folders, one a class: which of nested folders name the class."""

from pathlib import Path

import pandas as pd

from supcon.competition.files.find import ImageFinder
from supcon.competition.files.index import TRAIN, part_of
from supcon.competition.files.packed import packed_otherwise
from supcon.competition.sample import Sample
from supcon.errors import UserError
from supcon.settings.settings import DataSettings

_SHOWN = 3  # names of a level that an error lists


def train_from_folders(
    folder: Path, sample: Sample, settings: DataSettings, finder: ImageFinder, asked: set[str]
) -> pd.DataFrame:
    """Return a row for each image but those at `asked`, the test rows': columns id, path, label, group.

    Below a folder called train, where there is one, alone. The class is the name of a folder: of the level that the
    settings name, else of the only one whose names differ, else of the only one whose names are columns of the sample.
    Raises `UserError` where it cannot be told which, or two images with one id have different contents.
    """
    if settings.group_column:
        raise UserError(f"--data.group_column {settings.group_column}: {folder} has no {TRAIN} to hold that column")
    below_training = [path for path in finder.index.paths if part_of(path) == "train"]
    paths = below_training or [path for path in finder.index.paths if part_of(path) == ""]
    paths = [path for path in paths if "/" in path and path not in asked]
    parts = {above: _parts_of(above, bool(below_training)) for above in dict.fromkeys(map(_above, paths))}
    paths = [path for path in paths if parts[_above(path)]]
    if not paths:
        raise UserError(
            packed_otherwise(folder, tables=True)
            or f"{folder} has neither {TRAIN} nor one folder a class (such as train/CLASS/IMAGE)"
        )
    level = _class_level(folder, {above: names for above, names in parts.items() if names}, sample, settings)
    rows = []
    for path in paths:
        above, _, name = path.rpartition("/")
        rows.append(("/".join([*parts[above][level:], name]), path, parts[above][level]))
    table = pd.DataFrame(rows, columns=["id", "path", "label"], dtype=str)
    return _without_copies(table, folder, finder).assign(group="")


def _above(path: str) -> str:
    return path.rpartition("/")[0]


def _parts_of(above: str, below_training: bool) -> list[str]:
    """Return the names of the folders on the way to an image; of those below a training folder these alone."""
    names = above.split("/")
    first = next((number for number, name in enumerate(names, 1) if part_of(f"{name}/")), 0) if below_training else 0
    return names[first:]


def _class_level(folder: Path, parts: dict[str, list[str]], sample: Sample, settings: DataSettings) -> int:
    """Return the position, among the names of the folders above an image, of the one that is its class."""
    deepest = max(map(len, parts.values()))
    shallow = [above for above, names in parts.items() if len(names) < (settings.class_level or deepest)]
    if settings.class_level:
        if shallow:
            raise UserError(f"--data.class_level {settings.class_level}: {shallow[0]} is not so deep and holds images")
        return settings.class_level - 1
    levels = [dict.fromkeys(names[level] for names in parts.values() if level < len(names)) for level in range(deepest)]
    differ = [level for level in range(deepest) if len(levels[level]) > 1]
    if not shallow:
        if len(differ) <= 1:
            return differ[0] if differ else deepest - 1
        fitting = [level for level in differ if sample.one_hot and levels[level].keys() <= set(sample.targets)]
        if len(fitting) == 1:
            return fitting[0]
    shown = "; ".join(f"level {level + 1} is {_shown(list(levels[level]))}" for level in differ)
    deep = next(above for above, names in parts.items() if len(names) == deepest)
    raise UserError(
        f"{folder}: folders nest, as in {' and '.join([*shallow[:1], deep])}: {shown}: say which level names the"
        " classes with --data.class_level NUMBER"
    )


def _shown(names: list[str]) -> str:
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN:,} more" if len(names) > _SHOWN else "")


def _without_copies(table: pd.DataFrame, folder: Path, finder: ImageFinder) -> pd.DataFrame:
    """Return the rows without those that repeat another's id and content."""
    repeated = table[table["id"].duplicated(keep=False)]
    groups = [list(rows) for _, rows in repeated.groupby("id", sort=False)["path"]]
    odd = [paths for paths, same in zip(groups, finder.are_equal(groups), strict=True) if not same]
    if odd:
        raise UserError(
            f"{folder}: {odd[0][0]} and {odd[0][1]} are called alike and differ ({len(odd):,} such images): keep one of"
            " them, or rename it"
        )
    return table[~table["id"].duplicated()].reset_index(drop=True) if groups else table
