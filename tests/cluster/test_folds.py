"""Folds side by side on one machine: the bytes of one after the other, and how such a command ends."""

import importlib.util
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supcon.settings import parse
from tests.conftest import REPOSITORY, TINY, copied_root, run_stage
from tests.stages.test_laws import prediction_bytes, run_folder, submission_bytes
from tests.test_run_sh import run

needs_ray = pytest.mark.skipif(
    importlib.util.find_spec("ray") is None, reason="requirements-cluster.txt is not installed"
)
CONFIG = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]


def commanded(page: str, root: Path, *flags: str) -> "subprocess.Popen[str]":
    """Start a command of run.sh, or a stage by its page."""
    words = [str(REPOSITORY / "run.sh"), page] if page == "all" else [sys.executable, f"{REPOSITORY}/src/{page}.py"]
    words += ["--root", str(root), *CONFIG, *(flags or TINY)]
    return subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def wait_for(log: Path, text: str, seconds: float = 90) -> None:
    until = time.time() + seconds
    while not (log.exists() and text in log.read_text()):
        assert time.time() < until, f"{text!r} is not in {log}"
        time.sleep(0.1)


@pytest.mark.slow
@needs_ray
def test_jobs_give_the_bytes_of_one_after_the_other(root: Path, finished: Path) -> None:
    result = run("all", "--jobs", "2", "--root", str(root), *CONFIG, *TINY)
    assert result.returncode == 0, result.stderr
    assert "tasks       2 at once on this machine, by Ray" in result.stdout
    for fold in range(3):
        assert prediction_bytes(root, fold) == prediction_bytes(finished, fold)
    assert submission_bytes(root) == submission_bytes(finished)
    for table in ("oof.csv", "test.csv"):
        assert (run_folder(root) / table).read_bytes() == (run_folder(finished) / table).read_bytes()
    again = run("all", "--jobs", "2", "--root", str(root), *CONFIG, *TINY)
    assert "pseudo, pretrain, finetune, soup, predict: done already" in again.stdout  # without a Ray
    result = run("predict", "--jobs=3", "--root", str(root), *CONFIG, *TINY, "--fold", "0", "2", "--force")
    assert result.returncode == 0, result.stderr
    assert (run_folder(root) / "oof.csv").read_bytes() == (run_folder(finished) / "oof.csv").read_bytes()
    aside = sorted(path.name[:14] for path in (run_folder(root) / "old").iterdir())
    assert aside == ["predict-fold-0", "predict-fold-2"]


@pytest.mark.slow
@needs_ray
def test_the_precision_is_chosen_once_for_all_tasks(root: Path) -> None:
    flags = [flag for flag in TINY if "precision" not in flag] + ["--finetune.epochs=1", "--pretrain.epochs=1"]
    result = run("all", "--jobs", "2", "--root", str(root), *CONFIG, *flags)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("precision: ") == 2  # that it is timed, and what was chosen


@pytest.mark.slow
@needs_ray
def test_damaged_images_and_comparisons_are_worked_on_side_by_side(finished: Path, tmp_path: Path) -> None:
    root, one = copied_root(finished, tmp_path / "side"), copied_root(finished, tmp_path / "one")
    for place, flags in ((root, ["--jobs", "2"]), (one, [])):
        result = run("report", "--root", str(place), "--run", "cross_entropy", "--corruptions", "--rows", "3", *flags)
        assert result.returncode == 0, result.stderr
    scores = [json.loads((run_folder(place) / "corruptions.json").read_text()) for place in (root, one)]
    assert scores[0] == scores[1]
    copied_root(run_folder(root), root / "runs" / "again")
    said = [
        run("compare", "--root", str(root), "cross_entropy", "again", *flags).stdout for flags in (["--jobs", "2"], [])
    ]
    assert said[0].splitlines()[-4:-1] == said[1].splitlines()[-4:-1]


@pytest.mark.slow
@needs_ray
def test_a_fold_that_its_user_must_mend_leaves_the_others_to_be_done(root: Path) -> None:
    run_stage("make_folds", root)
    broken = run_folder(root) / "fold1" / "encoder.safetensors"
    broken.mkdir(parents=True)
    result = run("pretrain", "--jobs", "2", "--root", str(root), *CONFIG, *TINY)
    assert result.returncode == 2
    assert result.stderr.startswith("error: fold 1: ")
    assert result.stderr.count("\n") == 1
    assert "(the same command, without --force, goes on from what is finished)" in result.stderr
    assert all((run_folder(root) / f"fold{fold}" / "pretrain.done.json").exists() for fold in (0, 2))


@pytest.mark.slow
@needs_ray
@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_task_outlives_the_command_and_the_next_goes_on(root: Path, ending: signal.Signals) -> None:
    run_stage("make_folds", root)
    flags = [*TINY, "--pretrain.epochs=1000", "--jobs=2"]
    command = commanded("pretrain", root, *flags)
    log = run_folder(root) / "fold0" / "log.txt"
    wait_for(log, "epoch 3/1000")
    second = commanded("pretrain", root, *flags)  # it says who is at work
    assert second.stdout is not None
    assert f"process {command.pid}: waiting for it" in second.stdout.readline()
    second.kill()
    second.communicate()
    command.send_signal(ending)
    _, error = command.communicate(timeout=60)
    assert command.returncode == (-ending if ending == signal.SIGKILL else 128 + ending)
    assert error.count("\n") == (0 if ending == signal.SIGKILL else 1)
    worker, until = int(log.read_text().split("process ")[1].split()[0]), time.time() + 30
    while Path(f"/proc/{worker}").exists() and time.time() < until:
        time.sleep(0.1)
    assert not Path(f"/proc/{worker}").exists()


@pytest.mark.slow
def test_two_commands_on_one_folder_do_no_stage_twice(root: Path, finished: Path) -> None:
    run_stage("make_folds", root)
    for page in ("pretrain", "finetune", "predict", "tune", "ensemble"):
        both = [commanded(page, root) for _ in range(2)]
        said = [process.communicate(timeout=120) for process in both]
        assert [process.returncode for process in both] == [0, 0], said
        out = "".join(out for out, _ in said)
        assert all(out.count(f"{page} fold {fold}  epoch 1/") <= 1 for fold in range(3))
    for fold in range(3):
        assert prediction_bytes(root, fold) == prediction_bytes(finished, fold)
    assert submission_bytes(root) == submission_bytes(finished)
    assert len((root / "submissions" / "ledger.csv").read_text().splitlines()) == 2


@pytest.mark.slow
def test_who_waits_for_a_process_that_is_killed_does_its_work(root: Path) -> None:
    run_stage("make_folds", root)
    flags = [*TINY, "--fold=0", "--pretrain.epochs=200"]
    first = commanded("pretrain", root, *flags)
    assert first.stdout is not None
    first.stdout.readline()
    second = commanded("pretrain", root, *flags)
    assert second.stdout is not None
    assert f"process {first.pid}: waiting for it" in second.stdout.readline()
    forced = commanded("pretrain", root, *flags, "--force")
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


def test_a_number_of_jobs_that_is_none_is_refused_before_anything_runs(tmp_path: Path) -> None:
    for flag in ("--jobs=0", "--jobs=x", "--jobs=-1"):
        result = run("all", flag, "--root", str(tmp_path / "root"))
        assert result.returncode == 2
        assert result.stderr.startswith("error: --jobs")
        assert not (tmp_path / "root").exists()


def test_a_stage_of_all_folds_together_has_no_jobs(tmp_path: Path) -> None:
    result = run("ensemble", "--jobs", "2", "--root", str(tmp_path))
    assert result.returncode == 2
    assert "--jobs" in result.stderr


def test_processes_for_one_model_are_asked_for_beside_jobs(root: Path) -> None:
    request = parse("", ["--root", str(root), "--jobs=2", "--nproc=2"], per_fold=True, tasks=True)
    assert (request.tasks.jobs, request.settings.nproc) == (2, 2)
