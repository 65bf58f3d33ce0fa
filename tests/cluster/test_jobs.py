"""Folds side by side, by several jobs of one command or by several commands."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from supcon.cluster import fan_out
from supcon.errors import UserError
from supcon.settings import parse
from supcon.storage import lock
from supcon.storage.processes import CORES, available_cores
from tests.conftest import REPOSITORY, STAGES, TINY, run_stage
from tests.stages.test_laws import prediction_bytes, run_folder, submission_bytes
from tests.storage.test_lock import holder
from tests.test_run_sh import run

STUB = "../tests/stages/stub"  # beside src/
CONFIG = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]


def play(
    folder: Path,
    folds: list[int],
    *,
    jobs: int = 2,
    gpus: tuple[str, ...] = (),
    fails: tuple[int, ...] = (),
    dies: tuple[int, ...] = (),
    meets: int = 0,
) -> tuple[dict[int, dict[str, Any]], list[fan_out.Failure]]:
    """Fan the stub out; return what it saw in each fold, and what failed."""
    options = Namespace(fails=fails, dies=dies, meets=meets)
    request = replace(parse("", ["--root", str(folder)]), options=options)
    failures = fan_out.fan_out(request, [STUB, STUB], folds, fan_out.environments(jobs, gpus))
    return {int(path.stem): json.loads(path.read_text()) for path in folder.glob("[0-9]*.json")}, failures


def test_every_fold_has_a_process_its_share_of_the_cores_and_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CORES, "9")
    before = dict(os.environ)
    seen, failures = play(tmp_path, [0, 1, 2], meets=3, jobs=4, gpus=("3", "5"))
    assert not failures
    assert seen.keys() == {0, 1, 2}
    assert len({one["process"] for one in seen.values()}) == 3
    assert {one["SUPCON_CORES"] for one in seen.values()} == {one["OMP_NUM_THREADS"] for one in seen.values()} == {"2"}
    assert [seen[fold]["CUDA_VISIBLE_DEVICES"] for fold in seen] == [["3", "5", "3"][fold] for fold in seen]
    assert dict(os.environ) == before


def test_no_more_folds_are_at_work_than_asked_for(tmp_path: Path) -> None:
    seen, _ = play(tmp_path, [0, 1, 2], jobs=1)
    spans = sorted((one["started"], one["ended"]) for one in seen.values())
    assert all(first[1] <= second[0] for first, second in zip(spans, spans[1:], strict=False))


def test_where_folds_fail_the_others_go_on_and_one_line_says_which(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    seen, failures = play(tmp_path, [0, 1, 2, 3], fails=(0, 2), dies=(1,))
    assert seen.keys() == {3}
    assert "fold 0 stopped, the others go on: the loss is nan: lower the learning rate" in capsys.readouterr().out
    assert {(failure.fold, failure.status) for failure in failures} == {(0, 2), (1, 128 + signal.SIGKILL), (2, 2)}
    line = fan_out.described(sorted(failures, key=lambda failure: failure.fold))
    assert line.startswith("folds 0, 2: the loss is nan: lower the learning rate; fold 1: its process ended with")
    assert "\n" not in line


def test_a_fold_that_another_process_is_at_is_begun_last(tmp_path: Path) -> None:
    request = parse("", ["--root", str(tmp_path)])
    path = fan_out.lock_file(request.fold_folder(0), "pretrain")
    path.parent.mkdir(parents=True)
    path.touch()
    assert fan_out.next_fold(request, ["pretrain"], [0, 1]) == 0
    other = holder(path)
    try:
        assert fan_out.next_fold(request, ["pretrain"], [0, 1]) == 1
        assert fan_out.next_fold(request, ["pretrain"], [0]) == 0
    finally:
        other.kill()
        other.wait()


def test_the_gpus_are_those_that_are_visible(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,GPU-5a")
    assert fan_out.visible_gpus("auto") == ["2", "GPU-5a"]
    assert fan_out.visible_gpus("cpu") == fan_out.visible_gpus("cuda:1") == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert fan_out.visible_gpus("auto") == []


def test_a_share_of_the_cores_is_never_more_than_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    cores = available_cores()
    assert [place[CORES] for place in fan_out.environments(1, [])] == [str(cores)]
    assert {place[CORES] for place in fan_out.environments(10 * cores, [])} == {"1"}
    monkeypatch.setenv(CORES, "1")
    assert available_cores() == 1


@pytest.mark.parametrize("flag", ["--jobs=0", "--jobs=x", "--jobs=-1", "--jobs="])
def test_a_number_of_jobs_that_is_none_is_refused_before_anything_runs(tmp_path: Path, flag: str) -> None:
    result = run("all", flag, "--root", str(tmp_path / "root"))
    assert result.returncode == 2
    assert result.stderr == f"error: {flag.replace('=', ' ').strip()}: how many folds to work on at once, 1 or more?\n"
    assert not (tmp_path / "root").exists()


def test_a_stage_of_the_whole_run_is_no_work_for_jobs(tmp_path: Path) -> None:
    result = run("tune", "--jobs", "2", "--root", str(tmp_path))
    assert result.returncode == 2
    assert "--jobs works on several folds at once, and tune is of all together" in result.stderr


def test_processes_that_share_a_fold_and_jobs_that_share_the_folds_are_not_both_given(root: Path) -> None:
    with pytest.raises(UserError, match="--nproc shares the batches of one fold"):
        fan_out.main(["2", "pretrain", "--root", str(root), "--nproc", "2"])


@pytest.mark.slow
def test_jobs_give_the_bytes_of_one_after_the_other(root: Path, finished: Path) -> None:
    result = run("all", "--jobs", "2", "--root", str(root), *CONFIG, *TINY)
    assert result.returncode == 0, result.stderr
    for fold in range(3):
        assert prediction_bytes(root, fold) == prediction_bytes(finished, fold)
    assert submission_bytes(root) == submission_bytes(finished)
    for table in ("oof.csv", "test.csv"):
        assert (run_folder(root) / table).read_bytes() == (run_folder(finished) / table).read_bytes()
    result = run("predict", "--jobs=3", "--root", str(root), *CONFIG, *TINY, "--fold", "0", "2", "--force")
    assert result.returncode == 0, result.stderr
    assert (run_folder(root) / "oof.csv").read_bytes() == (run_folder(finished) / "oof.csv").read_bytes()
    assert sorted(path.name[:14] for path in (run_folder(root) / "old").iterdir()) == [
        "predict-fold-0",
        "predict-fold-2",
    ]


@pytest.mark.slow
def test_jobs_take_the_precision_that_was_chosen_before_them(root: Path) -> None:
    flags = [flag for flag in TINY if "precision" not in flag] + ["--finetune.epochs=1", "--pretrain.epochs=1"]
    result = run("all", "--jobs", "2", "--root", str(root), *CONFIG, *flags)
    assert result.returncode == 0, result.stderr


def start(script: str, root: Path, *flags: str) -> "subprocess.Popen[str]":
    command = [sys.executable, str(REPOSITORY / f"src/{script}.py"), "--root", str(root), *CONFIG, *TINY, *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


@pytest.mark.slow
def test_two_processes_on_one_folder_share_the_folds_and_both_end_with_the_whole(root: Path, finished: Path) -> None:
    run_stage("make_folds", root)
    said = []
    for stage in STAGES[1:]:
        both = [start(stage, root) for _ in range(2)]
        said.append([process.communicate(timeout=120) for process in both])
        assert [process.returncode for process in both] == [0, 0], said[-1]
    for stage, ((first, _), (second, _)) in zip(("pretrain", "finetune"), said, strict=False):
        trained = re.findall(rf"{stage} fold (\d)  epoch 1/", first + second)
        assert sorted(trained) == ["0", "1", "2"]  # none by both
        assert "left to it" in first + second
    for fold in range(3):
        assert prediction_bytes(root, fold) == prediction_bytes(finished, fold)
    assert submission_bytes(root) == submission_bytes(finished)
    assert len((root / "submissions" / "ledger.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_who_waits_for_a_process_that_is_killed_does_its_work(root: Path) -> None:
    run_stage("make_folds", root)
    flags = ("--fold=0", "--pretrain.epochs=200")
    first = start("pretrain", root, *flags)
    assert first.stdout is not None
    first.stdout.readline()
    second = start("pretrain", root, *flags)
    assert second.stdout is not None
    assert f"process {first.pid}: left to it" in second.stdout.readline()
    assert f"process {first.pid}: waiting for it" in second.stdout.readline()
    forced = start("pretrain", root, *flags, "--force")
    _, error = forced.communicate(timeout=60)
    assert forced.returncode == 2
    assert f"process {first.pid}: wait for it or end it" in error
    while "epoch 2/" not in first.stdout.readline():  # so that the first epoch's checkpoint is there
        pass
    first.kill()
    first.wait()
    after, _ = second.communicate(timeout=120)
    assert "epoch 200/200" in after
    assert "epoch 1/200" not in after  # it went on from the other's checkpoint


@pytest.mark.slow
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGKILL])
def test_no_job_outlives_the_one_that_started_it(root: Path, ending: signal.Signals) -> None:
    run_stage("make_folds", root)
    words = ["2", "pretrain", "--root", str(root), *CONFIG, *TINY, "--pretrain.epochs=1000"]
    command = [sys.executable, "-m", "supcon.cluster.fan_out", *words]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    locks = [run_folder(root) / f"fold{fold}" / ".pretrain.lock" for fold in (0, 1)]
    assert process.stdout is not None
    process.stdout.readline()
    waited = time.time()
    while not all(map(lock.holder_of, locks)) and time.time() - waited < 60:
        time.sleep(0.1)
    process.send_signal(ending)
    _, error = process.communicate(timeout=120)
    assert process.returncode == (130 if ending == signal.SIGINT else -ending)
    assert error.count("\n") == (1 if ending == signal.SIGINT else 0)
    while any(map(lock.holder_of, locks)) and time.time() - waited < 90:
        time.sleep(0.1)
    assert not any(map(lock.holder_of, locks))
