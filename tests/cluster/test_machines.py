"""Folds and studies on a Ray cluster of two machines, which are processes on loopback; one of them is ended."""

import importlib.util
import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster.machines import machines
from tests.cluster.test_folds import CONFIG, commanded, wait_for
from tests.conftest import TINY, copied_root, run_stage, write_competition
from tests.stages.test_laws import prediction_bytes, run_folder, submission_bytes
from tests.study.conftest import BRIEF, cells, write_study
from tests.test_run_sh import run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="requirements-cluster.txt is not installed"),
]
LONG = [flag for flag in TINY if "pretrain.epochs" not in flag] + ["--pretrain.epochs=60"]


@pytest.fixture(autouse=True, scope="module")
def _loopback() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")  # 127.0.0.1 is not taken for this machine's address
        yield


def worker_of(log: Path) -> int:
    return int(re.findall(r": on \S+, process (\d+)", log.read_text())[-1])


@pytest.fixture(scope="module")
def long_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root where the same run was made by one process."""
    root = tmp_path_factory.mktemp("long")
    write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    result = run("all", "--root", str(root), *CONFIG, *LONG)
    assert result.returncode == 0, result.stderr
    return root


def test_what_a_machine_was_at_goes_on_at_another_to_the_same_bytes(root: Path, long_run: Path) -> None:
    with machines() as two:
        command = commanded("all", root, "--cluster", two.address, *LONG)
        log = run_folder(root) / "fold0" / "log.txt"
        wait_for(log, "epoch 3/60")
        two.end(worker_of(log))
        out, error = command.communicate(timeout=300)
    assert command.returncode == 0, error
    assert "tasks       on the Ray cluster" in out
    assert "fold 0: on " in out
    assert "(ended before, it goes on from its last epoch)" in out
    assert "pretrain fold 0: goes on after epoch" in log.read_text()
    for fold in range(3):
        assert prediction_bytes(root, fold) == prediction_bytes(long_run, fold)
    assert submission_bytes(root) == submission_bytes(long_run)


def test_a_killed_command_leaves_no_task_and_goes_on_when_it_is_given_again(root: Path, long_run: Path) -> None:
    with machines() as two:
        command = commanded("all", root, "--cluster", two.address, *LONG)
        logs = [run_folder(root) / f"fold{fold}" / "log.txt" for fold in (0, 1)]
        for log in logs:
            wait_for(log, "epoch 3/60")
        os.killpg(command.pid, signal.SIGKILL)
        command.communicate(timeout=60)
        workers, until = [worker_of(log) for log in logs], time.time() + 60
        while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.time() < until:
            time.sleep(0.2)
        assert not any(Path(f"/proc/{worker}").exists() for worker in workers)
        again = commanded("all", root, "--cluster", two.address, *LONG)
        out, error = again.communicate(timeout=300)
    assert again.returncode == 0, out + error
    assert all("goes on after epoch" in log.read_text() for log in logs)
    assert submission_bytes(root) == submission_bytes(long_run)


def test_a_study_is_played_by_a_cluster_and_its_table_is_that_of_one_process(root: Path, tmp_path: Path) -> None:
    alone = tmp_path / "alone"
    shutil.copytree(root / "input", alone / "input")
    for place in (root, alone):
        write_study(place, BRIEF, [{"folds": "all", "seeds": [0]}])
    with machines(gpus=1) as two:
        result = run("study", str(root / "tiny.yaml"), "--root", str(root), "--cluster", two.address, "--task.gpus=0.5")
        assert result.returncode == 0, result.stderr
        second = run("study", str(root / "tiny.yaml"), "--root", str(root), "--cluster", two.address)
    assert "cells to do" not in second.stdout  # it had no need of the cluster
    assert run("study", str(alone / "tiny.yaml"), "--root", str(alone)).returncode == 0
    assert cells(root).drop(columns="seconds").equals(cells(alone).drop(columns="seconds"))
    assert "GPU 0" in (root / "runs" / "tiny-ce-s0" / "fold0" / "log.txt").read_text()
    assert "tune two, seed 0: done" in result.stdout


def test_searches_of_a_decision_are_spread_and_change_no_result(finished: Path, tmp_path: Path) -> None:
    root = copied_root(finished, tmp_path / "copy")
    before = (run_folder(root) / "decision.json").read_bytes()
    with machines() as two:
        result = run("tune", "--root", str(root), *CONFIG, *TINY, "--force", "--cluster", two.address)
    assert result.returncode == 0, result.stderr
    assert (run_folder(root) / "decision.json").read_bytes() == before


def test_a_cluster_that_ends_ends_the_command_in_a_line(root: Path) -> None:
    with machines() as two:
        command = commanded("all", root, "--cluster", two.address, *LONG)
        wait_for(run_folder(root) / "fold0" / "log.txt", "epoch 3/60")
    _, error = command.communicate(timeout=120)
    assert command.returncode == 2
    assert (
        error.splitlines()[-1]
        == f"error: the Ray at {two.address} has ended: the same command goes on (with --cluster once one runs there)"
    )


def test_an_address_where_no_cluster_is_ends_in_a_line(root: Path) -> None:
    run_stage("make_folds", root)
    for address in ("127.0.0.1:9", "nowhere", "auto"):
        result = run("pretrain", "--root", str(root), *CONFIG, *TINY, "--cluster", address)
        assert result.returncode == 2, result.stdout
        assert result.stderr.startswith(f"error: --cluster {address}: no Ray answers")
        assert result.stderr.count("\n") == 1
