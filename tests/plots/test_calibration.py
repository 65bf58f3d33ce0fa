"""The reliability diagram."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.patches import Rectangle

from supcon.metrics.calibration import ReliabilityBins, reliability_bins
from supcon.plots import reliability
from tests.plots.shown import check, said

pytestmark = pytest.mark.filterwarnings("error")


def bins(scale: float, rows: int = 500) -> ReliabilityBins:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 4, rows)
    logits = draw.normal(size=(rows, 4))
    logits[np.arange(rows), true] += 2
    logits *= scale
    return reliability_bins(logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), true)


def test_each_bin_with_rows_is_a_point_at_its_confidence_and_accuracy() -> None:
    before, after = bins(3.0), bins(1.0)
    figure = reliability(before, after, "Reliability")
    check(figure)
    upper, lower = figure.axes
    marks = [mark for mark in upper.collections if isinstance(mark, PathCollection)]
    for mark, expected in zip(marks, (before, after), strict=True):
        rows = expected.count > 0
        points = np.column_stack([expected.confidence, expected.accuracy])[rows]
        np.testing.assert_allclose(np.asarray(mark.get_offsets()), points)
        sizes = mark.get_sizes()
        assert sizes[np.argmax(expected.count[rows])] == sizes.max() > sizes.min()
    heights = [bar.get_height() for bar in lower.patches if isinstance(bar, Rectangle)]
    assert heights == [*before.count, *after.count]
    assert {"confidence", "accuracy", "rows", "before temperature", "after"} <= set(said(figure))


def test_alone_with_one_row_and_with_none() -> None:
    check(reliability(bins(1.0)))
    check(reliability(bins(1.0, rows=1)))
    check(reliability(bins(1.0, rows=0)))
