"""Who goes on, what is left to do, and what whole runs are held against, without training anything."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from supcon.cluster.tasks import InTurn
from supcon.metrics.metric import make_metric
from supcon.report.run import Run
from supcon.run.split import Split
from supcon.settings import Settings
from supcon.settings.settings import MachineSettings
from supcon.settings.sources import Flat
from supcon.settings.training import FinetuneSettings
from supcon.study import cells, progress
from supcon.study.cells import Results, Scores
from supcon.study.compare import NO_OTHERS, read_whole_run_scores
from supcon.study.progress import Progress, RoundResult, whole_runs
from supcon.study.read import Round, Study
from supcon.study.runs import Cell, Runs

TRUE = np.array([0, 0, 1, 1])
RIGHT, BAD = np.array([0, 0, 1, 1]), np.array([0, 1, 1, 0])
MACRO_F1 = make_metric("macro_f1", 2, np.arange(2))


def scores(predicted: Any) -> Scores:
    return Scores(TRUE, predicted, np.full(4, 0.5), MACRO_F1, 100, 10)


def progress_of(
    rounds: list[Round],
    results: Results,
    folds: int = 2,
    variants: str = "ce a b c",
    over: Mapping[str, str] = NO_OTHERS,
) -> Progress:
    settings = {name: Flat() for name in variants.split()}
    study = Study(Path("s.yaml"), "s", "", {}, "ce", settings, tuple(rounds), dict(over))
    found = Progress(study, cast(Runs, SimpleNamespace(fold_count=folds)))
    found.results = results
    return found


def test_a_variant_that_failed_does_not_go_on_where_all_others_do() -> None:
    results = Results({Cell(name, 0, 0): scores(BAD) for name in ("ce", "a", "b")}, {Cell("c", 0, 0): "no memory"})
    first, second = progress_of([Round((0,), (0,)), Round(None, (0,))], results).rounds()
    assert first.survivors == ["ce", "a", "b"]
    assert {cell.variant for cell in second.cells} == {"ce", "a", "b"}


def test_the_best_third_goes_on_beside_the_baseline() -> None:
    results = Results({Cell(name, 0, 0): scores(RIGHT if name == "b" else BAD) for name in ("ce", "a", "b", "c")})
    assert progress_of([Round((0,), (0,), 0.34)], results).rounds()[0].survivors == ["ce", "b"]


def test_what_variants_are_compared_with_goes_on_beside_the_best() -> None:
    results = Results({Cell(name, 0, 0): scores(RIGHT if name == "b" else BAD) for name in ("ce", "a", "b", "c")})
    played = progress_of([Round((0,), (0,), 1), Round((0,), (0, 1))], results, over={"a": "c"})
    assert played.rounds()[0].survivors == ["ce", "b", "c"]
    assert played.planned() == 4 + 3


def test_a_cell_that_two_rounds_share_is_planned_once() -> None:
    rounds = [Round((0,), (0,), 1), Round((0,), (0, 1, 2), 1), Round(None, (0,))]
    # four variants on one cell, two on two more, the same two on the other fold
    assert progress_of(rounds, Results()).planned() == 4 + 2 * 2 + 2


def test_what_failed_is_noted_and_what_is_done_is_told_with_its_scores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run_cell(request: SimpleNamespace, fold: int, force: bool) -> Scores:
        if fold == 1:
            raise ZeroDivisionError("by nothing")
        return scores(RIGHT)

    noted: list[str] = []
    monkeypatch.setattr(progress, "run_cell", run_cell)
    monkeypatch.setattr(progress, "failure_file", lambda *_: tmp_path / "none")
    monkeypatch.setattr(progress, "write_failure", lambda _, fold, reason: noted.append(f"{fold}: {reason}"))
    study = progress_of([Round(None, (0,))], Results())
    request = SimpleNamespace(fold_folder=lambda fold: tmp_path)
    images = {name: lambda: None for name in ("open_training_images", "open_prediction_images")}
    study._runs.experiment = lambda *_: SimpleNamespace(request=request, **images)  # type: ignore[assignment]
    list(study.train([Cell("ce", 0, 0), Cell("ce", 0, 1)], InTurn()))
    assert noted == ["1: ZeroDivisionError: by nothing"]
    assert study.results.failures == {Cell("ce", 0, 1): "ZeroDivisionError: by nothing"}
    assert study.results.scores.keys() == {Cell("ce", 0, 0)}
    shown = capsys.readouterr().out
    assert "study: 2 cells to do, 0 of 8 are known" in shown
    assert "ce, seed 0, fold 0: macro-F1 1.0000, NLL 0.5000, 0 s; 1 left, about 0 s" in shown


def test_whole_runs_are_those_of_the_last_round_over_all_folds() -> None:
    def outcome(variants: str, seeds: tuple[int, ...], folds: tuple[int, ...]) -> RoundResult:
        cells = [Cell(name, seed, fold) for name in variants.split() for seed in seeds for fold in folds]
        found = progress_of([Round(folds, seeds)], Results({cell: scores(BAD) for cell in cells}), 2, variants)
        return found.rounds()[0]

    rounds = [outcome("ce a b", (0,), (0, 1)), outcome("ce b", (0, 1), (0, 1)), outcome("ce b", (5,), (1,))]
    assert whole_runs(rounds, 2) == [("b", 0), ("b", 1), ("ce", 0), ("ce", 1)]
    assert whole_runs(rounds[2:], 2) == []


def test_whole_runs_of_rows_with_groups_are_compared_over_groups(monkeypatch: pytest.MonkeyPatch) -> None:
    table = pd.DataFrame({"label": list("aabb"), "fold": "0", "group": list("ppqq")})
    experiments = {
        ("ce", 0): SimpleNamespace(split=Split(table), metric=MACRO_F1, predicted=BAD),
        ("b", 0): SimpleNamespace(split=Split(table), metric=MACRO_F1, predicted=RIGHT),
    }
    monkeypatch.setattr(Run, "predicted", property(lambda run: run.experiment.predicted))
    runs = cast(Runs, SimpleNamespace(experiment=lambda *one: experiments[one]))
    lines = read_whole_run_scores(runs, list(experiments), "ce")
    assert [(line.variant, line.units) for line in lines] == [("b", "groups"), ("ce", "groups")]
    assert read_whole_run_scores(runs, [("b", 0)], "ce") == []


def test_a_cell_that_failed_is_not_tried_again_for_another_machine_or_tracker(tmp_path: Path) -> None:
    def experiment(settings: Settings) -> Any:
        return SimpleNamespace(settings=settings, request=SimpleNamespace(run_folder=tmp_path))

    settings = Settings()
    cells.write_failure(experiment(settings), 0, "the loss is nan")
    elsewhere = replace(settings, machine=MachineSettings(workers=3), track="wandb")
    assert cells.read_failure(experiment(elsewhere), 0) == "the loss is nan"
    other = replace(settings, finetune=FinetuneSettings(lr=0.5))
    assert cells.read_failure(experiment(other), 0) == ""
