"""The ledger: submissions/ledger.csv, one row a submission, its score here and the host's public score."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pandas as pd

from supcon.errors import UserError
from supcon.storage import lock
from supcon.storage.files import move, remove_leftovers, write_csv
from supcon.storage.tables import read_own_table

LOCAL_SCORE, PUBLIC_SCORE = "cross_fitted", "public_score"  # columns: the score on the training rows, and the host's
LEDGER_COLUMNS = ["time", "run", "fingerprint", "metric", "raw", LOCAL_SCORE]
LEDGER_COLUMNS += ["sha256", "file", "message", "submitted", PUBLIC_SCORE]
SHOWN = ["time", "run", "file", "metric", "raw", LOCAL_SCORE, PUBLIC_SCORE]
_OLDER = {"raw_macro_f1": "raw", "cross_fitted_macro_f1": LOCAL_SCORE}  # column names of older ledgers
MESSAGE_WIDTH = 40  # characters of a message that the table shows


def read_ledger(path: Path) -> pd.DataFrame:
    """Return the ledger, empty where there is none yet. All cells are strings, "" in columns that an older file lacks.

    `submitted` is the time of the upload (UTC), "" before it; `public_score` is "" until the host shows it. Raises
    `UserError` where it is damaged.
    """
    if not path.exists():
        return pd.DataFrame(columns=LEDGER_COLUMNS, dtype=str)
    cure = "mend it, or move it away, and a new one is begun"
    table = read_own_table(path, cure, may_be_empty=True).rename(columns=_OLDER)
    if not {"sha256", "file"} <= set(table.columns):
        raise UserError(f"{path} has not the columns of a ledger: {cure}")
    others = [name for name in table.columns if name not in LEDGER_COLUMNS]  # the user's own
    return table.reindex(columns=[*LEDGER_COLUMNS, *others], fill_value="")


def add_to_ledger(path: Path, row: Mapping[str, str]) -> None:
    """Append one submission to ledger.csv, unless the newest row has the same fingerprint and bytes."""
    with _alone(path) as table:
        if len(table) and all(table.iloc[-1].get(key) == row[key] for key in ("fingerprint", "sha256")):
            return
        _append(path, table, row)


def add_upload(path: Path, sha256: str, cells: Mapping[str, str]) -> int:
    """Write an upload into the newest row of the file with this hash; return the row's number.

    A file that was uploaded before gets a second row with the cells of its newest. A file that is not in the ledger
    gets a row of `cells` alone.
    """
    upload = {key: cells[key] for key in ("message", "submitted")}
    with _alone(path) as table:
        same = table.index[table["sha256"] == sha256]
        if len(same) and table.at[same[-1], "submitted"] == "":
            _update(path, table, int(same[-1]), upload)
            return int(same[-1])
        known = {str(key): str(value) for key, value in table.loc[same[-1]].items()} if len(same) else {}
        _append(path, table, {**cells, **known, **upload, PUBLIC_SCORE: ""})
        return len(table)


def update_row(path: Path, number: int, cells: Mapping[str, str]) -> None:
    """Write `cells` into the row with this number; rows are only ever appended, so numbers stay.

    Raises `UserError` where the ledger has fewer rows, because someone has changed it meanwhile.
    """
    with _alone(path) as table:
        if number >= len(table):
            raise UserError(f"{path} was changed meanwhile, it has {len(table):,} rows: ./run.sh ledger --refresh")
        _update(path, table, number, cells)


def ledger_text(table: pd.DataFrame) -> str:
    """Return the table that `./run.sh ledger` prints, and the rank correlation of its two scores."""
    shown = table[SHOWN].rename(columns={LOCAL_SCORE: "cross-fitted", PUBLIC_SCORE: "public"})
    waits = (table["submitted"] != "") & (table[PUBLIC_SCORE] == "")
    shown.loc[waits, "public"] = "pending"
    shown["message"] = [_one_line(message) for message in table["message"]]
    lines = [list(shown.columns), *shown.to_numpy().tolist()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    return "\n".join([*rows, *correlation_lines(table)])


def correlation_lines(table: pd.DataFrame) -> list[str]:
    """Return a line with the rank correlation (Spearman) of cross-fitted and public score; none below three rows."""
    table = table[table["metric"] == table["metric"].iloc[-1]] if len(table) else table  # others have other scales
    scores = table[[LOCAL_SCORE, PUBLIC_SCORE]].apply(pd.to_numeric, errors="coerce").dropna()
    if len(scores) < 3:
        return []
    if scores.nunique().min() < 2:
        return [f"rank correlation: undefined, one of the two scores is the same in all {len(scores)} submissions"]
    value = scores[LOCAL_SCORE].corr(scores[PUBLIC_SCORE], method="spearman")
    return [f"rank correlation of cross-fitted and public score: {value:+.2f} over {len(scores)} rows (Spearman)"]


@contextmanager
def _alone(path: Path) -> Iterator[pd.DataFrame]:
    """Yield the ledger while no other process may write it. A damaged one is set aside, said so, and a new one begun.

    It is written after work that must not be lost for it: a submission is there, or uploaded.
    """
    with lock.alone(path.with_name(f".{path.name}.lock"), str(path)):
        remove_leftovers(path.parent)
        try:
            table = read_ledger(path)
        except UserError as error:
            aside = path.with_name(f"{path.stem}-damaged-{time.strftime('%Y%m%d-%H%M%S')}.csv")
            while aside.exists():
                aside = aside.with_stem(aside.stem + "x")
            move(path, aside)
            print(f"ledger: {str(error).rpartition(': ')[0]}: it is called {aside.name} now, and a new one is begun")
            table = read_ledger(path)
        yield table


def _update(path: Path, table: pd.DataFrame, number: int, cells: Mapping[str, str]) -> None:
    table.loc[number, list(cells)] = list(cells.values())
    write_csv(path, table)


def _append(path: Path, table: pd.DataFrame, row: Mapping[str, str]) -> None:
    whole = {column: row.get(column, "") for column in table.columns}
    write_csv(path, pd.concat([table, pd.DataFrame([whole])], ignore_index=True))


def _one_line(message: str) -> str:
    line = " ".join(message.split())
    return line if len(line) <= MESSAGE_WIDTH else line[: MESSAGE_WIDTH - 3] + "..."
