"""Who is confused with whom."""

import time
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from supcon.plots import as_png, cluster_order, confusion
from supcon.plots.confusion import most_confused
from tests.plots.shown import AWKWARD, check, said

pytestmark = pytest.mark.filterwarnings("error")


def names(count: int) -> list[str]:
    return [f"class {number}" for number in range(count)]


def cells(figure: Figure, image: int) -> Any:
    """The values of a figure's first panel: those of the diagonal (0), or the errors (1)."""
    return np.ma.asarray(figure.axes[0].images[image].get_array())


def in_pairs(classes: int) -> np.ndarray:
    """Class c is confused with c + classes / 2 alone."""
    matrix = 20 * np.eye(classes, dtype=np.int64)
    half = classes // 2
    for number in range(half):
        matrix[number, number + half], matrix[number + half, number] = 5, 3
    return matrix


def test_confused_classes_are_neighbours_in_the_order() -> None:
    order = cluster_order(in_pairs(24))
    assert sorted(order) == list(range(24))
    position = np.argsort(order)
    assert all(abs(position[number] - position[number + 12]) == 1 for number in range(12))


@pytest.mark.parametrize("classes", [0, 1, 2])
def test_one_or_two_classes_have_an_order(classes: int) -> None:
    assert cluster_order(np.eye(classes, dtype=np.int64)).tolist() == list(range(classes))


def test_classes_without_rows_or_errors_have_an_order() -> None:
    assert sorted(cluster_order(np.zeros((5, 5), np.int64))) == list(range(5))
    assert sorted(cluster_order(np.eye(300, dtype=np.int64))) == list(range(300))


def test_the_cells_are_shares_of_the_true_class_and_say_their_rows() -> None:
    matrix = np.array([[8, 2, 0], [0, 5, 0], [1, 1, 2]])
    figure = confusion(matrix, ["a", "b", "c"], "Confusions")
    check(figure)
    right, wrong = cells(figure, 0), cells(figure, 1)
    np.testing.assert_allclose(np.diag(right), [0.8, 1, 0.5])
    np.testing.assert_allclose(wrong.compressed(), [0.2, 0.25, 0.25])  # and nothing where no error is
    assert (wrong.mask == ~((matrix > 0) & ~np.eye(3, dtype=bool))).all()
    assert sorted(text.get_text() for text in figure.axes[0].texts) == ["1", "1", "2", "2", "5", "8"]
    assert {"a", "b", "c", "true class", "predicted class"} <= set(said(figure))


@pytest.mark.parametrize("classes", [1, 2, 12, 20, 30])
def test_up_to_thirty_classes_stand_in_their_order_with_their_names(classes: int) -> None:
    figure = confusion(in_pairs(classes), names(classes))
    check(figure)
    assert [tick.get_text() for tick in figure.axes[0].get_yticklabels()] == names(classes)


def test_more_classes_are_clustered_and_the_most_confused_ones_stand_apart() -> None:
    matrix = in_pairs(40)
    matrix[[3, 23], [23, 3]] = 9
    figure = confusion(matrix, names(40), "Many")
    check(figure)
    upper, lower, *_ = figure.axes
    assert len(upper.get_yticklabels()) < 25
    below = [tick.get_text() for tick in lower.get_yticklabels()]
    assert len(below) == 12
    assert abs(below.index("class 3") - below.index("class 23")) == 1
    errors = cells(figure, 1)
    assert errors.count() == 40
    assert (np.abs(np.subtract(*np.nonzero(~errors.mask))) == 1).all()  # beside the diagonal


def test_the_most_confused_are_those_of_the_largest_pairs() -> None:
    matrix = in_pairs(40)
    matrix[7, 30], matrix[30, 7] = 50, 40
    assert set(most_confused(matrix, 2)) == {7, 30}
    assert len(most_confused(np.eye(40, dtype=np.int64), 12)) == 0


def test_without_errors_there_is_no_scale_and_no_second_panel() -> None:
    for classes in (3, 40):
        figure = confusion(7 * np.eye(classes, dtype=np.int64), names(classes))
        check(figure)
        assert len(figure.axes) == 1
    check(confusion(np.zeros((4, 4), np.int64), names(4)))


def test_a_thousand_classes_are_drawn_in_a_moment_and_no_error_is_lost() -> None:
    draw = np.random.default_rng(0)
    matrix = np.diag(draw.integers(5, 50, 1000))
    matrix[tuple(draw.integers(0, 1000, (2, 5000)))] += 1
    started = time.process_time()
    figure = confusion(matrix, names(1000))
    as_png(figure)
    assert time.process_time() - started < 5  # about one second
    check(figure)
    errors = cells(figure, 1)
    off = matrix * ~np.eye(1000, dtype=bool)
    assert len(errors) <= 150
    assert errors.max() == pytest.approx((off / matrix.sum(axis=1, keepdims=True)).max())


@pytest.mark.parametrize("repeats", [1, 3])
def test_any_name_is_shown(repeats: int) -> None:
    every = AWKWARD * repeats
    check(confusion(in_pairs(len(every)), every, "$a_b$"))
