"""Intervals, the ladder and the scatter of seeds."""

import math

import numpy as np
import pytest
from matplotlib.container import BarContainer
from matplotlib.figure import Figure

from supcon.plots import Gain, differences, ladder, score_intervals, stability
from tests.plots.shown import AWKWARD, check, said

pytestmark = pytest.mark.filterwarnings("error")


def points(figure: Figure) -> list[tuple[list[float], list[float]]]:
    """The lines of points: their places in score and row."""
    lines = [line for line in figure.axes[0].lines if line.get_marker() in ("o", "s")]
    return [(np.ravel(line.get_xdata()).tolist(), np.ravel(line.get_ydata()).tolist()) for line in lines]


def test_every_score_has_its_point_and_interval() -> None:
    series = {
        "cross-fitted": {"fold 0": (0.90, 0.88, 0.93), "pooled": (0.91, 0.90, 0.92)},
        "raw": {"fold 0": (0.89, 0.87, 0.92)},
    }
    figure = score_intervals(series, "macro-F1", "Scores", note="95 %")
    check(figure)
    (first, rows), (second, other) = points(figure)
    assert first == [0.90, 0.91]
    assert second == [0.89]
    assert np.round(rows).tolist() == [0, 1]
    assert abs(rows[0] - other[0]) > 0.2  # beside each other
    bars = [path for bar in figure.axes[0].collections for path in bar.get_segments()]  # type: ignore[attr-defined]
    assert np.allclose(bars[0][:, 0], [0.88, 0.93])
    assert {"fold 0", "pooled", "0.9000", "0.9100", "macro-F1; 95 %", "raw"} <= set(said(figure))


def test_one_series_of_one_name_and_none_at_all_are_figures_too() -> None:
    check(score_intervals({"macro-F1": {"pooled": (0.5, 0.4, 0.6)}}))
    check(score_intervals({"macro-F1": {}}))
    check(score_intervals({}))


def test_scores_that_are_not_known_leave_a_gap() -> None:
    figure = score_intervals({"raw": {"a": (0.5, math.nan, math.nan), "b": (math.nan, math.nan, math.nan)}})
    check(figure)
    assert "nan" not in said(figure)


def test_a_ladder_ends_where_its_used_steps_lead() -> None:
    gains = [Gain("views", 0.02, 0.004), Gain("thresholds", -0.03, 0.01, used=False), Gain("folds", 0.005)]
    figure = ladder(0.90, gains, begin="one view")
    check(figure)
    assert points(figure) == [([0.9], [0]), ([pytest.approx(0.925)], [4])]
    bars = [bar.patches[0] for bar in figure.axes[0].containers if isinstance(bar, BarContainer)]
    assert [(round(bar.get_x(), 6), round(bar.get_width(), 6)) for bar in bars] == [
        (0.9, 0.02),
        (0.92, -0.03),
        (0.92, 0.005),
    ]
    assert [bar.get_facecolor()[:3] == (1, 1, 1) for bar in bars] == [False, True, False]
    shown = said(figure)
    assert {"one view", "+0.0200 ± 0.0040", "-0.0300 ± 0.0100", "+0.0050", "0.9250"} <= set(shown)
    left, right = figure.axes[0].get_xlim()
    assert left < 0.88 < 0.925 < right


def test_a_ladder_without_steps_is_a_figure() -> None:
    check(ladder(0.9, []))


def test_each_seed_is_a_dot_and_failed_ones_are_left_out() -> None:
    figure = stability({"ce": [0.90, 0.94, math.nan], "one": [0.8], "hot": [math.nan]})
    check(figure)
    assert [score for score, _ in points(figure)] == [[0.90, 0.94], [0.8]]
    assert {"0.9200 ± 0.0283", "0.8000", "no score", "ce"} <= set(said(figure))


def test_each_round_is_a_panel_of_its_variants_differences() -> None:
    rounds = {"round 1": {"joint": (0.02, 0.005), "hot": (-0.01, math.nan)}, "round 2": {"joint": (0.015, 0.002)}}
    figure = differences(rounds, "macro-F1 over ce", "study digits")
    check(figure)
    first, second = figure.axes
    dots = next(line for line in first.lines if line.get_marker() == "o")
    assert np.asarray(dots.get_xdata()).tolist() == [0.02, -0.01]
    bar = second.collections[0].get_segments()[0]  # type: ignore[attr-defined]
    assert np.allclose(bar[:, 0], [0.011, 0.019])
    assert {"joint", "hot", "round 2", "+0.0150", "macro-F1 over ce; ± 2 standard errors"} <= set(said(figure))
    check(differences({}, "macro-F1"))
    check(differences(rounds, "macro-F1 over a-baseline-with-a-rather-long-name; *: unequal passes"))
    check(differences({"round 1": dict.fromkeys(AWKWARD, (0.1, 0.01)), "$2$": {}}, "_$x$", "$t$"))


@pytest.mark.parametrize("draw", ["intervals", "ladder", "stability"])
def test_any_name_is_shown(draw: str) -> None:
    if draw == "intervals":
        check(score_intervals({"raw": dict.fromkeys(AWKWARD, (0.5, 0.4, 0.6)), "$b$": {}}, title="$t$_"))
    elif draw == "ladder":
        check(ladder(0.5, [Gain(name, 0.01, 0.001) for name in AWKWARD]))
    else:
        check(stability({name: [0.5, 0.6] for name in AWKWARD}, over="seed"))
