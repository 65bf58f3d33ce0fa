"""The client is found, run, and its failures become one line without secrets."""

import os
import re
import shlex
import sys
from pathlib import Path

import pytest

from supcon.competition.client import explain, find_client, last_words, run_client
from supcon.errors import UserError
from tests.competition.host.fake import FakeClient

LOGIN = "Authentication required to call the Kaggle API.\n\n  Option B: API token file\n    Save the token"
OLD_LOGIN = "Traceback (most recent call last):\nOSError: Could not find kaggle.json. Make sure it's located in /root"
REFUSED = "HTTPSConnectionPool(host='api.kaggle.com', port=443): Max retries exceeded with url: /v1/x (Caused by Proxy"
CASES = {
    LOGIN: "kaggle auth login",
    OLD_LOGIN: "kaggle auth login",
    "401 Client Error: Unauthorized for url: https://api.kaggle.com/v1/x": "kaggle auth login",
    "401 - Unauthorized": "kaggle auth login",
    "403 - You cannot submit until you accept the competition rules": r"accept the rules at .*/seeds[-\d]*/rules",
    "403 Client Error: Forbidden for url: https://api.kaggle.com/v1/x": r"/competitions/seeds[-\d]*/rules",
    "Permission 'competitions.participate' was denied": "check the competition's name",
    "404 Client Error: Not Found for url: https://api.kaggle.com/v1/x": "no such competition",
    '{"code":404,"message":"NotFound"}': "no such competition",
    "400 - Submission not allowed:  This competition only accepts Submissions from Notebooks.": "bundle --push -m TEXT",
    "400 Client Error: Bad Request for url: https://api.kaggle.com/v1/x": r"/seeds[-\d]* says what it takes",
    "429 Client Error: Too Many Requests for url": "in a few minutes",
    "Submission not allowed: Your team has used its submission allowance (5 of 5).": "used up: .*after midnight UTC",
    "400 - You have reached the daily submission limit": "used up",
    REFUSED: "cannot be reached: check the network",
    "Traceback (most recent call last):\nrequests.exceptions.ConnectionError: ('Connection aborted.', x)": "network",
    "OSError: [Errno 28] No space left on device": "disk is full",
    "kaggle: error: unrecognized arguments: --csv": "another version than those tested",
}


@pytest.mark.parametrize("output", CASES)
def test_every_known_failure_says_what_to_do(output: str) -> None:
    explanation = explain(output, 1, "seeds")
    assert re.search(CASES[output], explanation), explanation
    assert "\n" not in explanation


def test_a_crash_of_the_client_is_its_last_line_and_source_lines_mislead_nobody() -> None:
    crash = """Traceback (most recent call last):
  File "cli.py", line 404, in main
    raise Forbidden("401 - Unauthorized, 403 - Forbidden")
ModuleNotFoundError: No module named 'six'
"""
    explanation = explain(crash, 1, "seeds")
    assert "exit status 1: ModuleNotFoundError: No module named 'six'" in explanation
    assert "the kaggle client failed with exit status -9: it printed nothing" in explain("", -9, "seeds")


def test_what_could_be_a_secret_is_not_passed_on() -> None:
    key, token = "0123456789abcdef0123456789abcdef", "KGAT_a8f7-x" + 8 * "k4"
    line = (
        f"oops at https://x.com/upload?upload_id=ADPycd&k={key} for {key} and {token} in dog-breed-identification-2024"
    )
    words = last_words(line, "dog-breed-identification-2024")
    assert words == "oops at https://x.com/upload?... for ... and ... in dog-breed-identification-2024"
    assert len(last_words("word " * 1000)) <= 300


def test_the_client_on_path_goes_before_the_one_beside_the_interpreter(
    kaggle: FakeClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert find_client() == kaggle.place / "bin" / "kaggle"
    monkeypatch.setattr("sys.executable", str(kaggle.place / "bin" / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_client() == kaggle.place / "bin" / "kaggle"


@pytest.mark.usefixtures("no_client")
def test_without_a_client_the_command_that_installs_it_is_named() -> None:
    with pytest.raises(UserError, match=r"-m pip install -r requirements-kaggle\.txt") as caught:
        find_client()
    assert shlex.split(str(caught.value).split("installed: ")[1])[0] == sys.executable


def test_a_client_that_cannot_be_started_is_named(tmp_path: Path) -> None:
    program = tmp_path / "kaggle"
    program.write_text("#!/nowhere/python\n")
    program.chmod(0o755)
    with pytest.raises(UserError, match=rf"{program} could not be started \(No such file.*install it again"):
        run_client(program, "competitions", "submissions", "seeds")


def test_a_client_that_hangs_is_ended(tmp_path: Path) -> None:
    program = tmp_path / "kaggle"
    program.write_text(f"#!{sys.executable}\nimport time\ntime.sleep(60)\n")
    program.chmod(0o755)
    ticks: list[int] = []
    with pytest.raises(UserError, match="has not answered for 2 s"):
        run_client(program, "competitions", "submissions", "seeds", limit_s=2, tick=lambda: ticks.append(1))
    assert len(ticks) == 2


def test_a_client_that_asks_a_question_gets_no_answer(tmp_path: Path) -> None:
    program = tmp_path / "kaggle"
    program.write_text(f"#!{sys.executable}\ninput('user name: ')\n")
    program.chmod(0o755)
    ours, (keyboard, hand) = os.dup(0), os.pipe()
    os.dup2(keyboard, 0)  # a terminal at which nobody types
    try:
        with pytest.raises(UserError, match="EOFError"):
            run_client(program, "competitions", "submissions", "seeds", limit_s=5)
    finally:
        os.dup2(ours, 0)
        for descriptor in (ours, keyboard, hand):
            os.close(descriptor)
