"""The host's real client, against a stand-in for the host on loopback: only the host's address is replaced in it."""

import importlib.util
import io
import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from supcon.commands import download, ledger, submit
from supcon.competition import upload
from supcon.competition.ledger import read_ledger
from supcon.errors import UserError
from tests.competition.host.standin import KEY, USER, StandIn
from tests.competition.host.test_submit import AWKWARD, ready, row_of

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("kaggle") is None, reason="the client is not installed: requirements-kaggle.txt"
    ),
]
__all__ = ["ready"]  # a fixture

PROGRAM = """#!{python}
import sys
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = {address!r}
from kaggle.cli import main
sys.exit(main())
"""


@pytest.fixture
def host(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Iterator[StandIn]:
    """The stand-in, with the client on PATH, logged in as nobody, and no other way out of this machine."""
    place = tmp_path_factory.mktemp("host")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        archive.writestr("train.csv", os.urandom(3_000_000))
    server = StandIn(content.getvalue())
    program = place / "kaggle"
    program.write_text(PROGRAM.format(python=sys.executable, address=server.address))
    program.chmod(0o755)
    for name in [name for name in os.environ if name.startswith("KAGGLE")]:
        monkeypatch.delenv(name)
    for name, value in {
        "PATH": str(place), "HOME": str(place), "XDG_CONFIG_HOME": str(place), "KAGGLE_USERNAME": USER,
        "KAGGLE_KEY": KEY, "NO_PROXY": "127.0.0.1", "HTTPS_PROXY": "http://127.0.0.1:9",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(upload, "PAUSE_S", 0.01)
    yield server
    server.shutdown()
    server.server_close()


def run(root: Path, message: str = "mine") -> None:
    submit.main(["--root", str(root), "-m", message, "--wait", "20"])


def test_a_submission_arrives_byte_by_byte_and_its_score_comes_back(
    ready: Path, host: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    run(ready)
    path = ready / "submissions" / "submission.csv"
    assert host.uploaded == path.read_bytes()
    assert [submission["description"] for submission in host.submissions] == ["mine"]
    row = row_of(ready)
    assert (row["submitted"], row["public_score"]) == ("2026-11-22 09:00:01", "0.79")
    printed = capfd.readouterr()
    assert "5 submissions to seeds-2026 are left today" in printed.out
    assert "public score 0.79 (cross-fitted here 0.81)" in printed.out
    written = printed.out + printed.err + "".join(path.read_text() for path in ready.rglob("*.csv"))
    assert KEY not in written
    assert "secret" not in written


def test_awkward_messages_arrive_as_they_were_given(ready: Path, host: StandIn) -> None:
    host.pending_looks = 0
    message = " ".join(AWKWARD)
    run(ready, message)
    assert host.submissions[0]["description"] == message
    assert row_of(ready)["public_score"] == "0.79"


def test_a_pending_score_is_fetched_later(ready: Path, host: StandIn, capsys: pytest.CaptureFixture[str]) -> None:
    host.pending_looks = 1
    submit.main(["--root", str(ready), "-m", "mine", "--wait", "0"])
    assert "pending" in capsys.readouterr().out
    ledger.main(["--root", str(ready), "--refresh"])
    assert "1 of 1 pending scores fetched" in capsys.readouterr().out
    assert row_of(ready)["public_score"] == "0.79"


ERRORS = {
    "ListSubmissions": [
        (401, "Unauthenticated", "no valid login"),
        (403, "You must accept this competition's rules before you continue", "accept the rules at .*seeds-2026/rules"),
        (404, "Not found", "no such competition"),
        (500, "Oops", "exit status 1"),
    ],
    "CreateSubmission": [
        (
            400,
            "Submission not allowed:  This competition only accepts Submissions from Notebooks.",
            r"takes notebooks alone: \./run\.sh bundle --push -m TEXT",
        ),
        (400, "", "the host refuses it without saying why: .*seeds-2026 says what it takes"),
        (400, "Submission not allowed: Your team has used its submission allowance (5 of 5).", "used up"),
    ],
    "PUT": [(400, "", "the upload failed")],
}


@pytest.mark.parametrize(
    ("request_name", "status", "message", "error"), [(name, *case) for name, cases in ERRORS.items() for case in cases]
)
def test_what_the_host_refuses_is_one_line_and_nothing_is_lost(
    ready: Path, host: StandIn, request_name: str, status: int, message: str, error: str
) -> None:
    before = (ready / "submissions" / "ledger.csv").read_bytes()
    host.errors[request_name] = (status, message)
    with pytest.raises(UserError, match=error) as caught:
        run(ready)
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert (ready / "submissions" / "ledger.csv").read_bytes() == before
    assert host.submissions == []


def test_with_nothing_left_today_nothing_is_sent(ready: Path, host: StandIn) -> None:
    host.allowed = 0
    with pytest.raises(UserError, match="no submissions to seeds-2026 are left today"):
        run(ready)
    assert host.uploaded == b""


def test_a_file_that_cannot_be_scored_is_said(ready: Path, host: StandIn) -> None:
    host.final = {"status": "ERROR"}
    with pytest.raises(UserError, match="could not score it"):
        run(ready)
    assert row_of(ready)["public_score"] == "error"


def test_without_a_login_or_a_network_nothing_is_lost(
    ready: Path, host: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.server_close()
    with pytest.raises(UserError, match="check the network"):
        run(ready)
    monkeypatch.delenv("KAGGLE_KEY")
    with pytest.raises(UserError, match="kaggle auth login"):
        run(ready)
    assert read_ledger(ready / "submissions" / "ledger.csv")["submitted"].tolist() == [""]


def test_a_competition_is_downloaded_and_goes_on_where_it_broke(tmp_path: Path, host: StandIn) -> None:
    host.breaks_after = 2_500_000  # the client writes a mebibyte at a time
    download.main(["--root", str(tmp_path), "seeds"])
    assert [path.name for path in (tmp_path / "input").iterdir()] == ["seeds.zip"]
    assert (tmp_path / "input" / "seeds.zip").read_bytes() == host.content
    assert host.ranges == ["", f"bytes={2 * 2**20}-"]


def test_a_download_before_the_rules_are_accepted_leaves_an_empty_input(tmp_path: Path, host: StandIn) -> None:
    host.errors["DownloadDataFiles"] = (403, "You must accept this competition's rules before you'll be able to")
    with pytest.raises(UserError, match="accept the rules at"):
        download.main(["--root", str(tmp_path), "seeds"])
    assert list((tmp_path / "input").iterdir()) == []
