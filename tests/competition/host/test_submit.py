"""Submit: the check first, then the upload, then what becomes of it; whatever fails, nothing is lost."""

import hashlib
import zipfile
from pathlib import Path

import pandas as pd
import pytest

from supcon.commands import ledger, submit
from supcon.competition import upload
from supcon.competition.ledger import add_to_ledger, read_ledger
from supcon.errors import UserError
from tests.competition.host.fake import HEADER, FakeClient
from tests.competition.host.test_client import CASES
from tests.conftest import run_command

NAME = "seeds-2026"
DATE = "2026-11-22 09:00:00.123000"
OLD = f"{HEADER}\r\n7,old.csv,2026-11-20 09:00:00,mine,SubmissionStatus.COMPLETE,0.5,None\r\n"
WARNING = "Warning: Looks like you're using an outdated `kaggle` version\n"
LEFT = '{"numToday": 2, "numTotal": 9, "numAllowedNow": 3, "limitedByTotal": false}'
AWKWARD = ["--wait", "-m", "-v", "a \"quoted\", 'one'", "two\nlines", "a\rreturn", "🦊 crème; $HOME `x` \\n", "= a,b"]


def listed(status: str, score: str, message: str = "mine", ref: int = 8) -> str:
    cell = '"' + message.replace('"', '""') + '"'
    return OLD.replace(HEADER + "\r\n", f"{HEADER}\r\n{ref},submission.csv,{DATE},{cell},{status},{score},None\r\n")


@pytest.fixture
def ready(root: Path) -> Path:
    """A root with a valid submission and its ledger row."""
    rows = (root / "input" / "sample_submission.csv").read_bytes()
    folder = root / "submissions"
    folder.mkdir()
    for name in ("submission.csv", "x-1.csv"):
        (folder / name).write_bytes(rows)
    row = {"time": "t", "run": "x", "fingerprint": "f", "raw": "0.80", "cross_fitted": "0.81"}
    add_to_ledger(folder / "ledger.csv", {**row, "sha256": hashlib.sha256(rows).hexdigest(), "file": "x-1.csv"})
    zipfile.ZipFile(root / "input" / f"{NAME}.zip", "w").close()
    return root


@pytest.fixture
def plays(kaggle: FakeClient) -> FakeClient:
    """A client that uploads and shows the score at the second look."""
    kaggle.plays("submission-limits", LEFT)
    kaggle.plays("submit", "Successfully submitted to Seeds")
    kaggle.plays(
        "submissions", OLD, listed("SubmissionStatus.PENDING", ""), listed("SubmissionStatus.COMPLETE", "0.79")
    )
    return kaggle


def run(root: Path, *words: str) -> None:
    submit.main(["--root", str(root), "-m", "mine", *words])


def row_of(root: Path) -> pd.Series:
    table = read_ledger(root / "submissions" / "ledger.csv")
    assert len(table) == 1
    return table.iloc[0]


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upload, "PAUSE_S", 0.01)


def test_a_submission_is_checked_uploaded_and_its_score_written_beside_ours(
    ready: Path, plays: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    run(ready)
    path = ready / "submissions" / "submission.csv"
    assert plays.calls_of("submit") == [["competitions", "submit", NAME, f"--file={path}", "--message=mine", "--quiet"]]
    row = row_of(ready)
    assert (row["message"], row["submitted"], row["public_score"]) == ("mine", DATE[:19], "0.79")
    assert (row["run"], row["file"], row["cross_fitted"]) == ("x", "x-1.csv", "0.81")
    printed = capsys.readouterr().out
    assert f"3 submissions to {NAME} are left today" in printed
    assert "public score 0.79 (cross-fitted here 0.81)" in printed


@pytest.mark.parametrize("message", AWKWARD)
def test_a_message_arrives_and_is_kept_as_it_was_given(ready: Path, plays: FakeClient, message: str) -> None:
    submitted = listed("SubmissionStatus.COMPLETE", "0.79", message.replace("\n", "\r\n"))
    plays.plays("submissions", WARNING + OLD, WARNING + submitted)
    submit.main(["-m", message, "--root", str(ready)])
    assert f"--message={message}" in plays.calls_of("submit")[0]
    assert row_of(ready)["message"] == message.replace("\r", "\n")
    assert row_of(ready)["public_score"] == "0.79"


def test_a_file_that_fails_the_check_is_never_sent(ready: Path, plays: FakeClient) -> None:
    path = ready / "other.csv"
    path.write_text("id,label\nb000,blue\n")
    with pytest.raises(UserError, match=r"other\.csv has 1 rows"):
        run(ready, str(path))
    with pytest.raises(UserError, match=r"absent\.csv is missing"):
        run(ready, str(ready / "absent.csv"))
    assert plays.calls == []


def test_a_file_without_a_row_gets_one(ready: Path, plays: FakeClient) -> None:
    path = ready / "mine.csv"
    lines = (ready / "submissions" / "submission.csv").read_text().splitlines()
    path.write_text("\n".join([lines[0], *(line.split(",")[0] + ",red" for line in lines[1:])]) + "\n")
    run(ready, "--data.label_column", "label", str(path))
    rows = read_ledger(ready / "submissions" / "ledger.csv")
    assert rows["file"].tolist() == ["x-1.csv", "mine.csv"]
    assert rows["public_score"].tolist() == ["", "0.79"]
    assert rows["sha256"][1] == hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_same_bytes_are_not_sent_twice_by_accident(ready: Path, plays: FakeClient) -> None:
    run(ready)
    with pytest.raises(UserError, match=r"was uploaded on .*public score 0\.79.*--again"):
        run(ready)
    assert len(plays.calls_of("submit")) == 1
    plays.plays("submissions", listed("complete", "0.79"), listed("complete", "0.79", ref=9))
    run(ready, "--again")
    rows = read_ledger(ready / "submissions" / "ledger.csv")
    assert rows["public_score"].tolist() == ["0.79", "0.79"]
    assert rows["run"].tolist() == ["x", "x"]


def test_a_score_that_takes_long_is_pending_and_fetched_later(
    ready: Path, plays: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    plays.plays("submissions", OLD, listed("pending", ""))
    run(ready, "--wait", "0")
    assert "the score is pending: ./run.sh ledger --refresh" in capsys.readouterr().out
    assert (row_of(ready)["submitted"], row_of(ready)["public_score"]) == (DATE[:19], "")

    refresh = ["--root", str(ready), "--refresh"]
    ledger.main(refresh)
    assert "0 of 1 pending scores" in capsys.readouterr().out
    plays.plays("submissions", listed("complete", "0.79"))
    ledger.main(refresh)
    assert "1 of 1 pending scores" in capsys.readouterr().out
    assert row_of(ready)["public_score"] == "0.79"
    calls = len(plays.calls)
    ledger.main(refresh)
    assert "no score is pending" in capsys.readouterr().out
    assert len(plays.calls) == calls


def test_another_submission_of_the_same_message_lends_no_score(ready: Path, plays: FakeClient) -> None:
    plays.plays("submissions", OLD)  # the host never lists the new one; two days ago there was a "mine" too
    run(ready, "--wait", "0")
    ledger.main(["--root", str(ready), "--refresh"])
    assert row_of(ready)["public_score"] == ""


def test_a_network_that_breaks_after_the_upload_loses_nothing(
    ready: Path, plays: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    plays.plays("submissions", OLD, ("", "Max retries exceeded with url", 1))
    run(ready, "--wait", "0")
    printed = capsys.readouterr()
    assert "cannot be reached" in printed.err
    assert "the host does not list it yet: ./run.sh ledger --refresh" in printed.out
    assert row_of(ready)["message"] == "mine"


def test_a_file_that_the_host_cannot_score_is_said_and_kept(ready: Path, plays: FakeClient) -> None:
    plays.plays("submissions", OLD, listed("SubmissionStatus.ERROR", ""))
    with pytest.raises(UserError, match=f"could not score it: .*/{NAME}/submissions says why"):
        run(ready)
    assert row_of(ready)["public_score"] == "error"


def test_a_host_that_shows_no_score_leaves_nothing_pending(ready: Path, plays: FakeClient) -> None:
    plays.plays("submissions", OLD, listed("complete", ""))
    run(ready)
    assert row_of(ready)["public_score"] == "none"


def test_with_no_submissions_left_nothing_is_sent(ready: Path, plays: FakeClient) -> None:
    plays.plays("submission-limits", '{"numToday": 5, "numTotal": 9}')  # the client leaves zeros out
    with pytest.raises(UserError, match="no submissions to seeds-2026 are left today"):
        run(ready)
    assert plays.calls_of("submit") == []


@pytest.mark.parametrize(
    "limits",
    [("", "kaggle: error: invalid choice", 2), "{", "[]", "{}"],
    ids=["an older client", "rubbish", "a list", "a team that has not begun"],
)
def test_a_client_that_does_not_tell_the_limits_is_no_obstacle(
    ready: Path, plays: FakeClient, limits: "str | tuple[str, str, int]", capsys: pytest.CaptureFixture[str]
) -> None:
    plays.plays("submission-limits", limits)
    run(ready)
    assert "left today" not in capsys.readouterr().out
    assert row_of(ready)["public_score"] == "0.79"


@pytest.mark.parametrize("command", ["submissions", "submit"])
@pytest.mark.parametrize("output", list(CASES)[::4])
def test_every_failure_of_the_client_leaves_file_and_ledger_as_they_were(
    ready: Path, plays: FakeClient, command: str, output: str
) -> None:
    folder = ready / "submissions"
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    plays.plays(command, ("", output, 1))
    with pytest.raises(UserError, match=CASES[output]):
        run(ready)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize("output", ["Could not submit to competition", "Could not find competition - please verify"])
def test_a_failure_with_exit_status_0_is_a_failure(ready: Path, plays: FakeClient, output: str) -> None:
    plays.plays("submit", output)
    with pytest.raises(UserError, match=f"the upload failed .*{output}"):
        run(ready)
    assert row_of(ready)["submitted"] == ""


def test_the_client_of_another_year_is_named(ready: Path, kaggle: FakeClient) -> None:
    kaggle.plays("submissions", "score: 1\n")
    with pytest.raises(UserError, match=r"not understood: use a tested version, kaggle 1\.8\.4"):
        run(ready)


@pytest.mark.usefixtures("no_client")
def test_without_a_client_it_is_one_line_and_exit_status_2(ready: Path) -> None:
    with pytest.raises(UserError, match=r"requirements-kaggle\.txt"):
        run(ready)
    assert row_of(ready)["submitted"] == ""


def test_the_competition_must_be_named_where_no_single_zip_does(ready: Path, plays: FakeClient) -> None:
    zipfile.ZipFile(ready / "input" / "train.zip", "w").close()
    with pytest.raises(UserError, match=r"has 2 zips to name the competition: add --competition NAME"):
        run(ready)
    for wrong in ("https://www.kaggle.com/c/x", "-x", "a b"):
        with pytest.raises(UserError, match="--competition takes the last part of its address"):
            run(ready, f"--competition={wrong}")
    run(ready, "--competition", "other")
    assert plays.calls_of("submit")[0][2] == "other"


def test_a_bad_call_is_named(ready: Path, plays: FakeClient) -> None:
    for words, message in (
        (["-m", " \n"], "--message is empty"),
        ([], "-m TEXT is missing"),
        (["-m", "x", "--wait", "-1"], "--wait -1"),
        (["-m", "x", "--wait", "nan"], "--wait"),
        (["-m", "x", "--finetune.epochz", "3"], "finetune.epochz"),
    ):
        with pytest.raises(UserError, match=message):
            submit.main(["--root", str(ready), *words])
    assert plays.calls == []


def test_through_the_shell_it_is_one_line_and_exit_status_2(ready: Path, plays: FakeClient) -> None:
    plays.plays("submissions", ("", "401 - Unauthorized", 1))
    result = run_command("submit", ready, "-m", "mine")
    assert result.returncode == 2
    assert result.stderr.startswith("error: there is no valid login")
    assert result.stderr.count("\n") == 1
