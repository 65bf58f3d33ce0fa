"""Learning curves, and times."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import Rectangle

from supcon.plots import learning_curves, stage_times
from tests.plots.shown import AWKWARD, check, said

pytestmark = pytest.mark.filterwarnings("error")


def log(epochs: int, offset: float = 0.0) -> pd.DataFrame:
    epoch = np.arange(1, epochs + 1)
    return pd.DataFrame({"epoch": epoch, "loss": 9 / epoch + offset, "held_out_macro_f1": 1 - 0.5 / epoch})


def test_a_panel_a_column_and_a_line_a_log() -> None:
    logs = {f"fold {number}": log(30, number / 10) for number in range(5)}
    figure = learning_curves(logs, ["loss", "held_out_macro_f1", "contrastive"], "finetune")
    check(figure)
    assert [len(axes.lines) for axes in figure.axes] == [5, 5]
    np.testing.assert_allclose(np.asarray(figure.axes[0].lines[2].get_ydata()), logs["fold 2"]["loss"].to_numpy())
    assert {"loss", "held out macro f1", "epoch", "fold 4"} <= set(said(figure))
    assert "contrastive" not in said(figure)
    styles = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(styles) == 5


def test_the_steep_start_of_long_logs_leaves_the_panel() -> None:
    low, high = learning_curves({"fold 0": log(100)}, ["loss"]).axes[0].get_ylim()
    assert low < 0.09 < 9 / 11 < high < 1
    low, high = learning_curves({"fold 0": log(9)}, ["loss"]).axes[0].get_ylim()
    assert low < 1 < 9 < high  # of short ones all is shown


def test_gaps_single_epochs_and_absent_columns() -> None:
    gaps = log(6)
    gaps.loc[2, "loss"] = np.nan
    gaps.loc[4, "loss"] = np.inf
    figure = learning_curves({"fold 0": gaps, "fold 1": log(1), "fold 2": log(3).drop(columns="loss")}, ["loss"])
    check(figure)
    assert [len(line.get_xdata()) for line in figure.axes[0].lines] == [6, 1]  # type: ignore[arg-type]
    assert figure.axes[0].lines[1].get_marker() == "o"  # a single epoch is no line
    check(learning_curves({"fold 0": log(1)}, ["loss"]))
    for logs in ({}, {"fold 0": log(3)}):
        nothing = learning_curves(logs, ["contrastive"])
        check(nothing)
        assert "nothing was logged" in said(nothing)


def test_twelve_folds_with_any_names_are_told_apart() -> None:
    figure = learning_curves({name: log(4, number) for number, name in enumerate(AWKWARD)}, ["loss"], "$a$")
    check(figure)
    assert len({(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}) == len(AWKWARD)


def test_a_stages_bar_is_as_long_as_its_folds_together() -> None:
    folds = {"fold 0": 300.0, "fold 1": 240.0}
    seconds = {"finetune": folds, "tune": {"": 30.0}}
    figure = stage_times(seconds, {"finetune": {"fold 0": 1024.0, "fold 1": 3072.0}}, "Time")
    check(figure)
    bars = [(bar.get_x(), bar.get_width()) for bar in figure.axes[0].patches if isinstance(bar, Rectangle)]
    np.testing.assert_allclose(bars, [(0, 5), (5, 4), (0, 0.5)])
    assert {"9 min, 3.0 GB", "30 s", "finetune"} <= set(said(figure))
    assert any("minutes" in text for text in said(figure))


@pytest.mark.parametrize(("longest", "unit"), [(5.0, "seconds"), (400.0, "minutes"), (90_000.0, "hours")])
def test_times_are_in_the_unit_that_fits(longest: float, unit: str) -> None:
    figure = stage_times({"pretrain": {"fold 0": longest}})
    check(figure)
    assert any(unit in text for text in said(figure))


def test_times_of_nothing_and_of_any_name() -> None:
    check(stage_times({}))
    check(stage_times({"predict": {}}))
    check(stage_times({name: {"": 3.0} for name in AWKWARD}))
