"""The ledger keeps every submission, and says how far the score here ranks them as the host does."""

import multiprocessing
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from supcon.commands import ledger
from supcon.competition.ledger import LEDGER_COLUMNS, add_to_ledger, add_upload, ledger_text, read_ledger, update_row
from supcon.errors import UserError

ROW = {"time": "t", "run": "r", "fingerprint": "f", "raw": "0.8", "cross_fitted": "0.7", "file": "x"}
OLD = "time,run,fingerprint,raw_macro_f1,cross_fitted_macro_f1,sha256,file,note\nt,r,f,0.8,0.7,1,x.csv,NA\n"


def scored(local: list[str], public: list[str]) -> pd.DataFrame:
    table = pd.DataFrame({"cross_fitted": local, "public_score": public, "submitted": "s"})
    return table.reindex(columns=LEDGER_COLUMNS, fill_value="")


def test_it_keeps_one_row_a_submission(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    for sha256 in ("1", "1", "2"):
        add_to_ledger(path, {**ROW, "sha256": sha256})
    assert len(path.read_text().splitlines()) == 3


def test_a_ledger_of_before_the_uploads_is_read_and_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    path.write_text(OLD)
    assert read_ledger(path).iloc[0][["file", "message", "public_score"]].tolist() == ["x.csv", "", ""]
    add_to_ledger(path, {**ROW, "fingerprint": "f", "sha256": "1"})  # the newest row already
    assert path.read_text() == OLD
    number = add_upload(path, "1", {"message": "m", "submitted": "s"})
    add_to_ledger(path, {**ROW, "sha256": "2"})
    update_row(path, number, {"public_score": "0.6"})
    table = read_ledger(path)
    assert table["public_score"].tolist() == ["0.6", ""]
    assert table["note"].tolist() == ["NA", ""]  # the user's own column stays
    assert list(table.columns) == [*LEDGER_COLUMNS, "note"]


def test_an_upload_goes_to_the_newest_row_of_its_bytes(tmp_path: Path) -> None:
    path = tmp_path / "ledger.csv"
    for sha256 in ("1", "2", "1"):
        add_to_ledger(path, {**ROW, "sha256": sha256})
    cells = {"time": "now", "file": "y", "sha256": "1", "message": "m", "submitted": "s"}
    assert add_upload(path, "1", cells) == 2
    assert add_upload(path, "1", cells) == 3  # once more: like its first, with a score of its own
    assert add_upload(path, "3", {**cells, "sha256": "3"}) == 4
    table = read_ledger(path)
    assert table["message"].tolist() == ["", "", "m", "m", "m"]
    assert table["run"].tolist() == ["r", "r", "r", "r", ""]
    assert table["file"].tolist() == ["x", "x", "x", "x", "y"]


def test_the_table_shows_both_scores_and_their_rank_correlation(tmp_path: Path) -> None:
    table = scored(["0.1", "0.2", "0.3", "0.4", "0.5"], ["0.5", "0.7", "0.6", "", "error"])
    table["message"] = ["two\nlines", "", "x" * 60, "", ""]
    lines = ledger_text(table).splitlines()
    assert lines[0].split() == ["time", "run", "file", "metric", "raw", "cross-fitted", "public", "message"]
    assert "two lines" in lines[1]
    assert lines[3].endswith("x" * 37 + "...")
    assert "pending" in lines[4]
    assert lines[6] == "rank correlation of cross-fitted and public score: +0.50 over 3 rows (Spearman)"
    assert len(lines) == 7


def test_too_few_or_equal_scores_have_no_rank_correlation() -> None:
    assert "correlation" not in ledger_text(scored(["0.1", "0.2", "0.3"], ["0.5", "0.7", ""]))
    assert "undefined" in ledger_text(scored(["0.1", "0.2", "0.3"], ["0.5", "0.5", "0.5"]))


def test_the_command_says_when_there_is_none_and_never_writes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "submissions"
    for header in (None, ",".join(LEDGER_COLUMNS) + "\n"):
        if header:
            folder.mkdir()
            (folder / "ledger.csv").write_text(header)
        ledger.main(["--root", str(tmp_path)])
        assert "has no submissions yet" in capsys.readouterr().out
    (folder / "ledger.csv").write_text(OLD)
    ledger.main(["--root", str(tmp_path)])
    assert "x.csv" in capsys.readouterr().out
    assert (folder / "ledger.csv").read_text() == OLD


def test_a_damaged_ledger_and_a_bad_call_are_named(tmp_path: Path) -> None:
    path = tmp_path / "submissions" / "ledger.csv"
    path.parent.mkdir()
    path.write_text('a,b\n1,"2\n')
    with pytest.raises(UserError, match=r"ledger\.csv line 2 is not CSV"):
        ledger.main(["--root", str(tmp_path)])
    with pytest.raises(UserError, match="--competition goes with --refresh"):
        ledger.main(["--root", str(tmp_path), "--competition", "x"])
    with pytest.raises(UserError, match="unrecognized arguments: --refres"):
        ledger.main(["--root", str(tmp_path), "--refres"])


def test_scores_of_another_metric_are_not_ranked_with_the_newest() -> None:
    table = scored(["0.1", "0.2", "0.3", "9", "8"], ["0.5", "0.7", "0.6", "1", "2"])
    table["metric"] = ["macro_f1"] * 3 + ["log_loss"] * 2
    assert "correlation" not in ledger_text(table)
    assert "+0.50 over 3 rows" in ledger_text(table.iloc[[3, 4, 0, 1, 2]])


def add_rows(path: Path, process: int) -> None:
    for number in range(8):
        add_to_ledger(path, {**ROW, "sha256": f"{process} {number}"})


def test_processes_that_write_at_once_keep_every_row(tmp_path: Path) -> None:
    fork = multiprocessing.get_context("fork")
    writers = [fork.Process(target=add_rows, args=(tmp_path / "ledger.csv", process)) for process in range(3)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    rows = {f"{process} {number}" for process in range(3) for number in range(8)}
    assert set(read_ledger(tmp_path / "ledger.csv")["sha256"]) == rows


def fold_up(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: dict[str, Callable[[Path], object]] = {
    "empty": lambda path: path.write_bytes(b""),
    "zeroed": lambda path: path.write_bytes(bytes(100)),
    "a stray quote": lambda path: path.write_text(path.read_text() + '"'),
    "a row cut short": lambda path: path.write_text(path.read_text() + "2026,r"),
    "other bytes": lambda path: path.write_bytes(bytes(range(128, 256))),
    "another table": lambda path: path.write_text("a,b\n1,2\n"),
    "a folder": fold_up,
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_ledger_is_set_aside_for_a_new_one_and_told_by_who_only_reads(
    tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "ledger.csv"
    add_to_ledger(path, {**ROW, "sha256": "1"})
    DAMAGES[damage](path)
    with pytest.raises(UserError, match=r"ledger\.csv .*: mend it, or move it away, and a new one is begun$"):
        read_ledger(path)
    add_to_ledger(path, {**ROW, "sha256": "2"})
    assert read_ledger(path)["sha256"].tolist() == ["2"]
    (aside,) = tmp_path.glob("ledger-damaged-*.csv")
    assert f"it is called {aside.name} now, and a new one is begun" in capsys.readouterr().out
    DAMAGES[damage](path)
    assert add_upload(path, "3", {**ROW, "sha256": "3", "message": "m", "submitted": "s"}) == 0
    DAMAGES[damage](path)
    with pytest.raises(UserError, match="was changed meanwhile, it has 0 rows"):
        update_row(path, 0, {"public_score": "1"})
