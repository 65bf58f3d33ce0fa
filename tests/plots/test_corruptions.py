"""Scores under corruption."""

import math

import numpy as np
import pytest

from supcon.plots import corruption_curves, corruption_heat
from tests.plots.shown import AWKWARD, check, said

pytestmark = pytest.mark.filterwarnings("error")

CURVE = {severity: 0.95 - 0.1 * severity for severity in range(6)}


@pytest.mark.parametrize("corruptions", [1, 2, 5])
def test_a_panel_a_corruption_and_a_line_a_run(corruptions: int) -> None:
    names = [f"corruption {number}" for number in range(corruptions)]
    figure = corruption_curves({"ce": dict.fromkeys(names, CURVE), "joint": dict.fromkeys(names, CURVE)}, title="Under")
    check(figure)
    panels = [axes for axes in figure.axes if axes.axison]
    assert [len(axes.lines) for axes in panels] == [2] * corruptions
    np.testing.assert_allclose(np.asarray(panels[0].lines[0].get_xydata()), list(CURVE.items()))
    assert {*names, "ce", "joint", "macro-F1"} <= set(said(figure))


def test_missing_severities_corruptions_and_runs() -> None:
    figure = corruption_curves({"a": {"fog": {5: 0.5, 0: 0.9}}, "b": {"blur": {0: 0.9, 1: math.nan}}, "c": {}})
    check(figure)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]
    assert np.asarray(figure.axes[0].lines[0].get_xdata()).tolist() == [0, 5]
    check(corruption_curves({}))


def test_the_heat_has_the_worst_on_top_and_a_number_a_cell() -> None:
    figure = corruption_heat({"fog": {0: 0.9, 3: 0.75}, "blur": {0: 0.9, 3: 0.2}, "noise": {0: 0.8}}, title="Heat")
    check(figure)
    axes = figure.axes[0]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["blur", "noise", "fog"]
    np.testing.assert_allclose(np.asarray(axes.images[0].get_array()), [[0.9, 0.2], [0.8, np.nan], [0.9, 0.75]])
    assert sorted(text.get_text() for text in axes.texts) == ["0.20", "0.75", "0.80", "0.90", "0.90"]
    check(corruption_heat({}))


def test_any_name_is_shown() -> None:
    check(corruption_heat(dict.fromkeys(AWKWARD, CURVE)))
    check(corruption_curves({"$run$_1": dict.fromkeys(AWKWARD, CURVE), "漢字": dict.fromkeys(AWKWARD, CURVE)}))
