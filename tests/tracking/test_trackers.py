"""Trackers are asked for by name, follow one process, and never stand in the way of a run."""

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import torch

from supcon.errors import UserError
from supcon.settings import Request, Settings, parse
from supcon.settings.settings import TRACKERS
from supcon.tracking import Subject, Trackers, track_scores
from supcon.tracking.libraries import CLASSES
from supcon.tracking.tracker import Kept
from supcon.tracking.trackers import PINS
from supcon.training import log
from tests.conftest import REPOSITORY, run_stage


@dataclass
class Recorder:
    """A tracker that keeps what it is told, draws from every stream, and raises where it is asked to."""

    subject: Subject
    kept: Kept
    fails_at: int = 0
    told: list[str] = field(default_factory=list)
    id: str = "one"
    place: str = "https://me:password@host/x?api_key=password"

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        draw()
        if number == self.fails_at:
            raise OSError(28, "No space left on device", "https://me:password@host/")
        self.told.append(f"epoch {number}")

    def scores(self, scores: Mapping[str, float]) -> None:
        self.told.append("scores")

    def page(self, path: Path) -> None:
        self.told.append("page")

    def close(self, *, failed: bool) -> None:
        self.told.append(f"closed {failed}")


def draw() -> tuple[float, float, float]:
    return random.random(), float(np.random.rand()), float(torch.rand(1))


@pytest.fixture
def recorders(monkeypatch: pytest.MonkeyPatch) -> list[Recorder]:
    """What stands for wandb and mlflow; mlflow's fails at the second epoch."""
    made: list[Recorder] = []

    def maker(fails_at: int) -> Callable[[Subject, Kept], Recorder]:
        def make(subject: Subject, kept: Kept) -> Recorder:
            made.append(Recorder(subject, kept, fails_at))
            return made[-1]

        return make

    monkeypatch.setitem(CLASSES, "wandb", maker(0))
    monkeypatch.setitem(CLASSES, "mlflow", maker(2))
    monkeypatch.setattr("supcon.tracking.trackers.is_installed", lambda _: True)
    return made


def subject(root: Path, *flags: str, fold: int | None = 0) -> Subject:
    return Subject(parse("", ["--root", str(root), "--run", "mine", "--track=wandb,mlflow", *flags]), "finetune", fold)


def test_a_tracker_that_fails_midway_is_one_line_and_the_others_go_on(
    root: Path, recorders: list[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("make_folds", root)
    capsys.readouterr()
    run_stage("pretrain", root, "--fold=0", "--pretrain.epochs=3", "--track=wandb,mlflow")
    assert [recorder.told for recorder in recorders] == [
        ["epoch 1", "epoch 2", "epoch 3", "closed False"], ["epoch 1", "closed True"],
    ]  # fmt: skip
    out, err = capsys.readouterr()
    assert err == (
        "warning: pretrain fold 0: mlflow fails (OSError: [Errno 28] No space left on device: 'https://***@host/'):"
        " the run goes on without it\n"
    )
    assert out.count("epoch ") >= 3
    assert "pretrain fold 0: tracked by wandb, https://***@host/x?api_key=***\n" in out


def test_a_stage_that_fails_ends_its_trackers_runs_as_failed(
    root: Path, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage("make_folds", root)
    with pytest.raises(UserError, match="lr"):
        run_stage("pretrain", root, "--fold=0", "--pretrain.lr=100", "--pretrain.epochs=30", "--track=wandb")
    assert recorders[0].told[-1] == "closed True"


def test_the_streams_of_random_numbers_are_left_alone(tmp_path: Path, recorders: list[Recorder]) -> None:
    wanted = draw()
    for seed in (random.seed, np.random.seed, torch.manual_seed):
        seed(0)
    trackers = Trackers(subject(tmp_path))
    trackers.epoch(1, {"loss": 0.0})
    trackers.close()
    assert recorders[0].told == ["epoch 1", "closed False"]
    assert draw() == wanted


def test_an_interrupted_stage_tells_no_epoch_twice_and_names_its_former_run(
    tmp_path: Path, recorders: list[Recorder]
) -> None:
    Trackers(subject(tmp_path)).epoch(1, {"loss": 0.0})
    again = Trackers(subject(tmp_path))
    for number in (1, 2, 3):
        again.epoch(number, {"loss": 0.0})
    wandb = recorders[2]
    assert wandb.kept.id == "one"
    assert wandb.told == ["epoch 2", "epoch 3"]


def test_a_stage_that_is_redone_begins_new_runs(root: Path, recorders: list[Recorder]) -> None:
    run_stage("make_folds", root)
    flags = ("--fold=0", "--pretrain.epochs=1", "--track=wandb")
    run_stage("pretrain", root, *flags)
    run_stage("pretrain", root, *flags, "--force")
    assert [recorder.kept.id for recorder in recorders] == ["", ""]
    assert list(root.glob("runs/*/old/pretrain-fold-0-*/pretrain.trackers.json"))


def test_later_processes_of_a_job_have_no_trackers(
    root: Path, recorders: list[Recorder], monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage("make_folds", root)
    monkeypatch.setattr(log, "is_first", lambda: False)
    run_stage("pretrain", root, "--fold=0", "--pretrain.epochs=1", "--track=wandb")
    assert not recorders


def test_trackers_are_kept_for_later_stages_until_others_or_none_are_named(
    root: Path, recorders: list[Recorder], capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--track=wandb", "--finetune.epochs=1")
    assert parse("", ["--root", str(root), "--run", "cross_entropy"]).settings.trackers == ["wandb"]
    run_stage("finetune", root, "--finetune.epochs=1")
    assert [recorder.subject.name for recorder in recorders] == [
        f"cross_entropy {stage} fold {fold}" for stage in ("pretrain", "finetune") for fold in range(3)
    ]
    capsys.readouterr()
    run_stage("pretrain", root, "--fold=0", "--track=none", "--finetune.epochs=1")  # not part of the fingerprint
    assert capsys.readouterr().out == "pretrain fold 0: done already\n"
    run_stage("finetune", root, "--fold=0", "--track=none", "--finetune.epochs=1", "--force")
    assert len(recorders) == 6
    assert parse("", ["--root", str(root), "--run", "cross_entropy"]).settings.trackers == []


@pytest.mark.parametrize("names", ["wandbx", "wandb,tensorbord", "wandb;mlflow"])
def test_an_unknown_tracker_is_refused_with_those_that_there_are(tmp_path: Path, names: str) -> None:
    with pytest.raises(UserError, match=rf"^--track .*: no such tracker: name some of {', '.join(TRACKERS)}, with"):
        subject(tmp_path, f"--track={names}")


def test_none_beside_a_tracker_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="^--track none,wandb: name trackers, or none"):
        subject(tmp_path, "--track=none,wandb")


@pytest.mark.parametrize("command", ["doctor", "pretrain", "finetune", "pretrain --jobs=2", "ensemble", "report"])
@pytest.mark.parametrize("name", TRACKERS)
def test_a_library_that_is_missing_is_named_before_any_work(
    root: Path, monkeypatch: pytest.MonkeyPatch, command: str, name: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    page, *flags = command.split()
    line = rf"^--track {name}: {PINS[name]} is not installed: .* -m pip install .* leave {name} out of --track \(none: "
    with pytest.raises(UserError, match=line):
        run_stage(page, root, f"--track={name}", *flags)
    assert sorted(path.name for path in root.iterdir()) == ["input"]


def test_a_folder_of_a_librarys_name_is_no_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from supcon.tracking.trackers import is_installed

    (tmp_path / "tracks_of_a_run").mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))
    assert not is_installed("tracks_of_a_run")
    assert is_installed("numpy")


def test_the_pins_are_those_of_the_requirements() -> None:
    lines = [
        line.partition("  #")[0]
        for file in ("requirements-trackers.txt", "requirements-trackio.txt")
        for line in (REPOSITORY / file).read_text().splitlines()
    ]
    assert set(PINS.values()) <= set(lines)
    assert tuple(PINS) == tuple(CLASSES) == TRACKERS


def test_a_run_without_trackers_is_asked_for_no_scores(tmp_path: Path) -> None:
    track_scores(Request(tmp_path, "mine", Settings()))  # which has no scores.json
