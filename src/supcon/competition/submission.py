"""The submission: exactly the sample's rows, order, columns and line ends, verified after writing."""

from collections.abc import Mapping
from pathlib import Path

import pandas as pd

from supcon.artifacts.files import read_csv, write_csv
from supcon.competition.read import SAMPLE, Competition
from supcon.errors import UserError


def write_submission(path: Path, competition: Competition, labels: Mapping[str, str]) -> None:
    """Write `labels` (id -> class name) in the form of sample_submission.csv, then read it back and check it.

    Raises `UserError` when an id of the sample has no label.
    """
    lacking = [name for name in competition.test["id"] if name not in labels]
    if lacking:
        raise UserError(f"{path.name}: {len(lacking)} test rows have no prediction, first {lacking[0]!r}: run predict")
    table = pd.DataFrame(
        {
            competition.id_column: competition.test["id"],
            competition.target_column: [labels[name] for name in competition.test["id"]],
        }
    )
    write_csv(path, table, _line_end(competition.folder / SAMPLE))
    verify_submission(path, competition)


def verify_submission(path: Path, competition: Competition) -> None:
    """Raise `UserError` naming the first line of `path` that sample_submission.csv's form does not allow."""
    table = read_csv(path)
    columns = [competition.id_column, competition.target_column]
    if list(table.columns) != columns:
        raise UserError(f"{path} line 1: the columns are {list(table.columns)}, needed are {columns}")
    if len(table) != len(competition.test):
        raise UserError(f"{path} has {len(table)} rows, the sample has {len(competition.test)}")
    known = set(competition.classes)
    rows = zip(table.itertuples(index=False, name=None), competition.test["id"], strict=True)
    for line, ((name, label), wanted) in enumerate(rows, start=2):
        if name != wanted:
            raise UserError(f"{path} line {line}: the id is {name!r}, the sample has {wanted!r} there")
        if label not in known:
            raise UserError(f"{path} line {line}: {label!r} is no class of the training rows")


def read_solution(folder: Path, competition: Competition) -> pd.Series | None:
    """Return the private leaderboard's labels by id where input/solution.csv exists. For the final score only."""
    path = folder / "solution.csv"
    if not path.exists():
        return None
    table = read_csv(path)
    if list(table.columns[:2]) != [competition.id_column, competition.target_column]:
        raise UserError(f"{path} must begin with the columns {competition.id_column}, {competition.target_column}")
    twice = table[competition.id_column][table[competition.id_column].duplicated()]
    if len(twice):
        raise UserError(f"{path}: the id {twice.iloc[0]!r} stands in two rows: mend it")
    solution = table.set_index(competition.id_column)[competition.target_column]
    if set(solution.index) != set(competition.test["id"]):
        raise UserError(f"{path} does not hold the ids of {SAMPLE}: it is another competition's")
    unknown = solution[~solution.isin(competition.classes)]
    if len(unknown):
        name, label = unknown.index[0], unknown.iloc[0]
        raise UserError(f"{path}: the label {label!r} of {name!r} is no class of the training rows")
    return solution.loc[competition.test["id"]]


def _line_end(sample: Path) -> str:
    with sample.open("rb") as file:
        return "\r\n" if file.readline().endswith(b"\r\n") else "\n"
