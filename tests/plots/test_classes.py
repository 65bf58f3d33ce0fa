"""What classes cost, and where two runs differ."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from supcon.plots import class_costs, per_class_difference
from tests.plots.shown import AWKWARD, check, said

pytestmark = pytest.mark.filterwarnings("error")


def table(f1: list[float]) -> pd.DataFrame:
    names = [f"class {number}" for number in range(len(f1))]
    return pd.DataFrame({"class": names, "f1": f1, "support": np.arange(len(f1)) + 5})


def widths(axes: Axes) -> list[float]:
    return [bar.get_width() for bar in axes.patches if isinstance(bar, Rectangle)]


def test_the_costliest_classes_stand_on_top_with_their_cost() -> None:
    figure = class_costs(table([0.9, 0.5, 1.0, np.nan, 0.8]), worst=3, title="Costs")
    check(figure)
    axes = figure.axes[0]
    np.testing.assert_allclose(widths(axes), [0.5 / 4, 0.2 / 4, 0.1 / 4])
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["class 1", "class 4", "class 0"]
    assert {"F1 0.500, 6 rows", "macro-F1 lost; the 3 costliest of 4 classes"} <= set(said(figure))
    low, high = axes.get_ylim()
    assert low > high  # the first on top


def test_costs_of_one_perfect_class_of_none_and_of_any_name() -> None:
    check(class_costs(table([1.0])))
    check(class_costs(table([])))
    check(class_costs(table([np.nan])))
    check(class_costs(pd.DataFrame({"class": AWKWARD, "f1": 0.5, "support": 100_000})))


def test_differences_are_sorted_and_of_many_the_largest_are_shown() -> None:
    values = np.array([0.1, -0.3, np.nan, 0.2, 0.01])
    figure = per_class_difference(list("abcde"), values, values - 0.05, values + 0.07, most=3, title="b over a")
    check(figure)
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["d", "a", "b"]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    np.testing.assert_allclose([np.asarray(dot.get_xdata()).item() for dot in dots], [0.2, 0.1, -0.3])
    assert len({dot.get_color() for dot in dots}) == 2  # better and worse
    spans = [np.asarray(line.get_xdata()) for line in axes.lines if len(np.asarray(line.get_xdata())) == 2]
    assert any(np.allclose(span, [0.15, 0.27]) for span in spans)
    assert "difference in F1; the 3 largest of 4" in said(figure)


def test_differences_of_one_class_of_none_without_intervals_and_of_any_name() -> None:
    check(per_class_difference(["a"], [0.1], [0.0], [0.2]))
    check(per_class_difference(["a"], [np.nan], [np.nan], [np.nan]))
    check(per_class_difference([], [], [], []))
    check(per_class_difference(["a", "b"], [0.1, -0.1], [np.nan] * 2, [np.nan] * 2))
    check(per_class_difference(AWKWARD, [0.1] * len(AWKWARD), [0.0] * len(AWKWARD), [0.2] * len(AWKWARD)))
