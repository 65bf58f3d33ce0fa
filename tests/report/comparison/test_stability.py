"""Scatter over seeds and learning rates, as a study left it."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest
import yaml
from matplotlib.figure import Figure

from supcon.metrics.metric import Metric, MetricName, make_metric
from supcon.plots import stability
from supcon.report.comparison import sections as module
from supcon.report.comparison.run_comparison import RunComparison
from supcon.report.comparison.stability import find_study, scores_by_rate, scores_by_seed
from supcon.storage.files import read_json, write_csv, write_json
from supcon.study.cells import Results, Scores
from supcon.study.progress import RoundResult
from supcon.study.read import Round
from supcon.study.report import cell_table
from supcon.study.runs import Cell
from tests.report.comparison.conftest import GOOD, POOR
from tests.report.conftest import run_of

VARIANTS = {
    "ce": {"pretrain": {"epochs": 0}, "finetune": {"lr": 0.001}},
    "ce-fast": {"pretrain": {"epochs": 0}, "finetune": {"lr": 0.01}},
    "ce-ema": {"pretrain": {"epochs": 0}, "finetune": {"lr": 0.001, "ema": 0.5}},
    "joint": {"finetune": {"contrastive_weight": 1.0}},
}
CELLS = {Cell("ce", 0, 0): 9, Cell("ce", 0, 1): 7, Cell("ce-fast", 0, 0): 6, Cell("ce-ema", 0, 0): 5}


def metric_of(name: MetricName) -> Metric:
    return make_metric(name, 2, np.arange(2))


def scores_of(right: int, metric: Metric) -> Scores:
    """Return the scores of a cell that is right in so many of ten rows."""
    true = np.arange(10) % 2
    wrong = np.arange(10) >= right
    return Scores(true, np.where(wrong, 1 - true, true), np.where(wrong, 2.0, 0.25), metric, 100, 10)


def write_study_table(root: Path, metric: Metric) -> None:
    """Write what `study` leaves of two rounds, of which one cell failed."""
    results = Results(
        {cell: scores_of(right, metric) for cell, right in CELLS.items()}, {Cell("ce-fast", 0, 1): "lost"}
    )
    plan = Round(None, (0,))
    rounds = [
        RoundResult(1, plan, [*results.scores, *results.failures], [], [], []),
        RoundResult(2, plan, [Cell("ce", 0, 0)], [], [], []),
    ]
    write_csv(root / "runs" / "study" / "table.csv", cell_table(rounds, results, metric))


@pytest.fixture
def root(changeable: Path) -> Path:
    """A root in which `study` has tried four variants."""
    folder = changeable / "runs" / "study" / "variants"
    folder.mkdir(parents=True)
    for name, settings in VARIANTS.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    write_study_table(changeable, metric_of("macro_f1"))
    return changeable


def test_a_run_knows_its_study_even_where_names_hold_dashes(root: Path) -> None:
    (root / "runs" / "study-ce-s0").rename(root / "runs" / "study-ce-fast-s12")
    assert find_study(run_of(root, "study-ce-fast-s12")) == ("study", "ce-fast")
    assert find_study(run_of(root, "cross_entropy")) is None


def test_seeds_are_the_whole_runs_of_the_variant(root: Path) -> None:
    for seed, score in ((1, 0.75), (12, 0.5)):
        write_json(root / "runs" / f"study-ce-s{seed}" / "decision.json", {"metric": "macro_f1", "cross_fitted": score})
    write_json(root / "runs" / "study-ce-s3" / "decision.json", {"metric": "accuracy", "cross_fitted": 0.9})
    write_json(root / "runs" / "study-ce-small-s4" / "decision.json", {"metric": "macro_f1", "cross_fitted": 0.9})
    own = read_json(root / "runs" / POOR / "decision.json")["cross_fitted"]
    assert scores_by_seed(run_of(root, POOR)) == {0: own, 1: 0.75, 12: 0.5}
    assert list(scores_by_seed(run_of(root, GOOD))) == [0]


@pytest.mark.parametrize(
    ("name", "slow", "fast", "said"),
    [
        ("macro_f1", (10 / 11 + 8 / 9) / 2, 0.6, "macro-F1 by argmax"),
        ("accuracy", 0.9, 0.6, "accuracy by argmax"),
        ("log_loss", 0.425, 0.95, "log loss as predicted (lower is better)"),
    ],
)
def test_learning_rates_are_compared_by_the_runs_own_metric_on_the_cells_that_all_have(
    root: Path, monkeypatch: pytest.MonkeyPatch, name: MetricName, slow: float, fast: float, said: str
) -> None:
    metric = metric_of(name)
    write_study_table(root, metric)
    poor, good = (run_of(root, run) for run in (POOR, GOOD))
    for run in (poor, good):
        run.experiment.__dict__["metric"] = metric
    assert scores_by_rate(poor) == {
        "lr 0.001": [pytest.approx(slow, abs=1e-6)], "lr 0.01": [pytest.approx(fast, abs=1e-6)],
    }  # fmt: skip
    assert scores_by_rate(good) == {}
    drawn: list[str] = []

    def recorded(scores: Mapping[str, Sequence[float]], metric: str, **options: str) -> Figure:
        drawn.append(metric)
        return stability(scores, metric, **options)

    monkeypatch.setattr(module, "stability", recorded)
    module.scatter(RunComparison([poor, good]))
    assert drawn == [said]


def test_a_study_without_a_table_or_with_one_of_another_metric_says_nothing_of_learning_rates(root: Path) -> None:
    write_study_table(root, metric_of("accuracy"))
    assert scores_by_rate(run_of(root, POOR)) == {}
    (root / "runs" / "study" / "table.csv").unlink()
    assert scores_by_rate(run_of(root, POOR)) == {}
