"""Who goes on, what is left to do, and what whole runs are held against, without training anything."""

from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest

from supcon.metrics.metric import make_metric
from supcon.report.run import Run
from supcon.run.split import Split
from supcon.settings.sources import Flat
from supcon.study import progress
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


def test_the_time_left_is_that_of_the_cells_that_are_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0, 30, 30])
    monkeypatch.setattr(progress, "time", SimpleNamespace(time=lambda: next(clock)))
    monkeypatch.setattr(progress, "failure_file", lambda *_: Path("there is none"))
    monkeypatch.setattr(progress, "read_scores", lambda *_: scores(RIGHT))
    monkeypatch.setattr(progress, "fold_stages", lambda _: [])
    study = progress_of([Round(None, (0,))], Results())
    study._runs.experiment = lambda *_: SimpleNamespace(settings=None)  # type: ignore[assignment]
    study.train(Cell("ce", 0, 0))
    assert "cell 1 of 8" in (shown := capsys.readouterr().out)
    assert "30 s; about 4 min left" in shown  # seven cells of 30 s


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
