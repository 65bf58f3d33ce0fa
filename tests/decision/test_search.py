"""Searches: reproducible in memory, stored where others can open and share them, in one line where that fails."""

import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import optuna
import pandas as pd
import pytest

from supcon.decision.search import Parameters, SearchStorage, Space, search, write_trials
from supcon.errors import UserError
from supcon.settings.settings import TuneSettings
from tests.conftest import REPOSITORY

SPACE = {"a": (-1.0, 1.0), "b": (-1.0, 1.0), "c": (-1.0, 1.0)}
FIRST = dict.fromkeys(SPACE, 0.0)


def hill(parameters: Parameters) -> float:
    return -sum((value - 0.3) ** 2 for value in parameters.values())


def test_a_search_finds_the_top_and_the_same_each_time() -> None:
    best = [search(hill, SPACE, FIRST, TuneSettings(trials=150)) for _ in range(2)]
    assert best[0] == best[1]
    assert hill(best[0]) > -0.01
    assert search(hill, SPACE, FIRST, TuneSettings(trials=150, seed=1)) != best[0]


@pytest.mark.parametrize("space", [SPACE, {"a": (-1.0, 1.0)}, {"a": (-1.0, 1.0), "n": (-3, 3)}])
def test_a_search_never_ends_below_where_it_began_and_ties_go_to_the_first(space: Space) -> None:
    first: Parameters = dict.fromkeys(space, 0)
    assert search(lambda _: 1.0, space, first, TuneSettings(trials=20)) == first
    only = search(lambda p: float(p == first), space, first, TuneSettings(trials=20))
    assert only == first


def test_whole_numbers_stay_whole() -> None:
    best = search(lambda p: p["n"], {"n": (-3, 3), "a": (0.0, 1.0)}, {"n": 0, "a": 0.5}, TuneSettings(trials=30))
    assert best["n"] == 3
    assert isinstance(best["n"], int)


def test_seconds_end_a_search(tmp_path: Path) -> None:
    def slow(parameters: Parameters) -> float:
        time.sleep(0.02)
        return hill(parameters)

    started = time.monotonic()
    search(slow, SPACE, FIRST, TuneSettings(trials=10_000, seconds=0.5))
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("kind", ["journal", "sqlite"])
def test_a_stored_search_finds_what_one_in_memory_does_and_can_be_opened(tmp_path: Path, kind: str) -> None:
    path = str(tmp_path / "trials") if kind == "journal" else f"sqlite:///{tmp_path / 'trials.db'}"
    storage = SearchStorage(path, "run").for_rung("thresholds")
    settings = TuneSettings(trials=25)
    assert search(hill, SPACE, FIRST, settings, storage) == search(hill, SPACE, FIRST, settings)
    write_trials(tmp_path / "trials.csv", SearchStorage(path, "run"), ["argmax", "thresholds"])
    table = pd.read_csv(tmp_path / "trials.csv")
    assert len(table) == 25
    assert list(table.columns) == ["study", "number", "value", "state", "seconds", "a", "b", "c"]
    assert set(table["study"]) == {"run thresholds"}
    assert table["value"].max() == pytest.approx(hill(search(hill, SPACE, FIRST, settings)))


def test_several_workers_share_one_study(tmp_path: Path) -> None:
    storage = SearchStorage(str(tmp_path / "trials"), "shared", workers=3)
    best = search(hill, SPACE, FIRST, TuneSettings(trials=60), storage)
    assert hill(best) > -0.1
    write_trials(tmp_path / "trials.csv", SearchStorage(storage.url, "shared"), [])
    journal = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(storage.url))
    trials = optuna.load_study(study_name="shared", storage=journal).get_trials(deepcopy=False)
    done = [trial for trial in trials if trial.state == optuna.trial.TrialState.COMPLETE]
    assert 60 <= len(done) <= 62  # each of the others may have been at its last one


def test_a_search_that_others_began_goes_on_to_its_number_of_trials(tmp_path: Path) -> None:
    storage = SearchStorage(f"sqlite:///{tmp_path / 'trials.db'}", "run")
    search(hill, SPACE, FIRST, TuneSettings(trials=10), storage)
    search(hill, SPACE, FIRST, TuneSettings(trials=15), storage)
    assert len(optuna.load_study(study_name="run", storage=storage.url).trials) == 15


@pytest.mark.parametrize(
    ("storage", "shown"),
    [
        ("sqlite:////no/such/folder/trials.db", "unable to open"),
        ("postgresql://me:secret@127.0.0.1:1/trials", ""),
        ("nonsense://here", ""),
        ("/no/such/folder/trials.journal", "No such file"),
    ],
)
def test_a_storage_that_does_not_answer_is_named_in_one_line_without_its_password(storage: str, shown: str) -> None:
    with pytest.raises(UserError, match="--tune.storage .* does not answer: .*leave it out") as error:
        search(hill, SPACE, FIRST, TuneSettings(trials=2), SearchStorage(storage, "run"))
    assert shown in str(error.value)
    assert "secret" not in str(error.value)
    assert "\n" not in str(error.value)


def test_an_error_of_the_objective_is_not_taken_for_the_storages(tmp_path: Path) -> None:
    def broken(_: Parameters) -> float:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        search(broken, SPACE, FIRST, TuneSettings(trials=2), SearchStorage(str(tmp_path / "trials"), "run"))


def test_the_dashboard_opens_the_journal(tmp_path: Path) -> None:
    pytest.importorskip("optuna_dashboard")
    search(hill, SPACE, FIRST, TuneSettings(trials=5), SearchStorage(str(tmp_path / "optuna.journal"), "run"))
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    command = [sys.executable, "-c", "from optuna_dashboard._cli import main; main()", str(tmp_path / "optuna.journal")]
    server = subprocess.Popen([*command, "--port", str(port)], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True)
    try:
        deadline, studies = time.monotonic() + 60, ""
        while not studies and time.monotonic() < deadline and server.poll() is None:
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/studies", timeout=5) as answer:
                    studies = answer.read().decode()
            except OSError:
                time.sleep(0.2)
        assert '"study_name":"run"' in studies.replace('": ', '":'), server.poll()
    finally:
        server.terminate()
        server.wait()
