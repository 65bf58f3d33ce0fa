"""Who is better, and how probably."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from supcon.commands import compare
from supcon.errors import UserError
from supcon.plots import learning_curves
from supcon.report.comparison import sections
from supcon.report.comparison.run_comparison import RunComparison, require_comparable
from supcon.storage.files import read_json
from supcon.storage.tables import read_table
from tests.conftest import change_done
from tests.report.comparison.conftest import GOOD, POOR
from tests.report.conftest import run_of


def comparison_of(root: Path, *names: str) -> RunComparison:
    return RunComparison([run_of(root, name) for name in names])


def test_a_run_that_is_always_right_is_better_with_probability_one(two: Path) -> None:
    comparison = comparison_of(two, POOR, GOOD)
    assert comparison.scores[1].score == 1
    assert comparison.scores[0].low < comparison.scores[0].score < comparison.scores[0].high < 1
    value, error = comparison.gain(1)
    assert value == pytest.approx(1 - comparison.scores[0].score)
    assert 0 < error < value
    assert comparison.probability(1) == 1
    assert comparison.probability(0, 1) == 0


def test_a_run_is_better_than_its_like_with_probability_one_half(two: Path) -> None:
    comparison = comparison_of(two, POOR, "cross_entropy", GOOD)
    assert comparison.probability(1, 1) == 0.5
    assert comparison.probability(0, 1) == pytest.approx(1 - comparison.probability(1, 0))


def test_the_probability_is_that_of_resampled_rows(two: Path) -> None:
    comparison = comparison_of(two, POOR, "cross_entropy")
    first, second = comparison.runs
    draw, wins = np.random.default_rng(0), []
    for _ in range(600):
        rows = draw.integers(0, len(first.true), len(first.true))
        before, after = (first.metric.score(first.true[rows], run.labels[rows]) for run in (first, second))
        wins.append((after > before) + (after == before) / 2)
    assert comparison.probability(1) == pytest.approx(np.mean(wins), abs=0.08)


def test_differences_by_class_have_their_interval(two: Path) -> None:
    value, low, high = comparison_of(two, POOR, GOOD).class_differences(1)
    assert ((low <= value) & (value <= high)).all()
    assert (value > 0).any()


def test_the_table_for_the_terminal_names_every_run(two: Path) -> None:
    lines = comparison_of(two, POOR, GOOD).text().splitlines()
    assert len(lines) == 3
    assert lines[0].split("  ")[0] == "run"
    assert lines[2].startswith(f"{GOOD}  1.0000 [1.0000, 1.0000]  +0.")
    assert lines[2].endswith("1.000")


def test_a_run_of_another_split_is_refused_by_name(two: Path) -> None:
    runs = [run_of(two, name) for name in (POOR, GOOD)]
    runs[1].__dict__["true"] = (runs[1].true + 1) % 3
    with pytest.raises(UserError, match=rf"run {GOOD} has another split than {POOR}"):
        require_comparable(runs)


def test_runs_of_other_metrics_are_refused_by_name(changeable: Path) -> None:
    import tune

    flags = [f"--root={changeable}", f"--run={GOOD}", "--tune.metric=accuracy", "--tune.trials=5", "--force"]
    tune.main(flags)
    with pytest.raises(UserError, match=rf"run {GOOD} is tuned for accuracy, {POOR} for macro_f1"):
        compare.main([f"--root={changeable}", POOR, GOOD])
    assert not list((changeable / "runs").glob("*.html"))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([POOR], f"only {POOR} is named: name two runs or more"),
        ([POOR, POOR], f"run {POOR} is named twice"),
        ([POOR, "nobody"], "no run is called nobody in .*, which has cross_entropy, study-ce-s0, study-joint-s0"),
        ([POOR, GOOD, "--fold=1"], "unrecognized arguments: --fold=1"),
        ([], "RUN is missing"),
    ],
)
def test_calls_that_make_no_sense_are_one_line(two: Path, words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        compare.main([f"--root={two}", *words])
    assert not list((two / "runs").glob("*.html"))


def test_a_run_that_was_never_tuned_is_named_with_the_command(changeable: Path) -> None:
    for name in ("decision.json", "tune.done.json"):
        (changeable / "runs" / GOOD / name).unlink()
    with pytest.raises(UserError, match=rf"tune of run {GOOD} is not done: run `python src/tune\.py --root .*` first"):
        compare.main([f"--root={changeable}", POOR, GOOD])


def test_a_run_whose_folds_have_changed_is_refused(changeable: Path) -> None:
    path = changeable / "runs" / GOOD / "tune.done.json"
    change_done(path, fingerprint={**read_json(path)["fingerprint"], "input predict fold 0": "another"})
    with pytest.raises(UserError, match=rf"tune of run {GOOD} was made otherwise: predict fold 0 changed"):
        compare.main([f"--root={changeable}", POOR, GOOD])


def test_the_page_is_named_after_its_runs(tmp_path: Path) -> None:
    assert compare.page_path(tmp_path, ["a", "b"]) == tmp_path / "compare-a-b.html"
    many = [compare.page_path(tmp_path, [f"{word}{number}" * 20 for number in range(30)]).name for word in ("x", "y")]
    assert all(len(name) < 150 for name in many)
    assert many[0] != many[1]


def test_each_run_is_a_line_of_both_stages_over_its_folds(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Figure] = []

    def recorded(*given: Any, **options: Any) -> Figure:
        drawn.append(learning_curves(*given, **options))
        return drawn[-1]

    monkeypatch.setattr(sections, "learning_curves", recorded)
    sections.curves(comparison_of(two, POOR, GOOD))
    (figure,) = drawn
    first, second, mark = (np.asarray(line.get_xydata()) for line in figure.axes[0].lines)
    assert first[:, 0].tolist() == second[:, 0].tolist() == list(range(1, 2 + 16 + 1))
    assert mark[:, 0].tolist() == [2.5, 2.5]
    logs = [read_table(two / "runs" / POOR / f"fold{fold}" / "finetune.csv") for fold in range(3)]
    assert first[2:, 1] == pytest.approx(np.mean([log["loss"].astype(float) for log in logs], axis=0))
