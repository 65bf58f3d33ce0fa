"""What no bias can change is left out, and nothing else."""

import numpy as np
import pytest

from supcon.decision.undecided import UndecidedRows

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("classes", [2, 3, 7, 40])
@pytest.mark.parametrize("spread", [0.0, 0.5, 3.0, 30.0])
def test_labels_in_a_box_are_those_of_all_classes(classes: int, spread: float) -> None:
    scores = (spread * DRAW.normal(size=(300, classes))).astype(np.float32)
    rows = UndecidedRows.in_box(scores, 1.5)
    for bias in DRAW.uniform(-1.5, 1.5, (20, classes)).astype(np.float32):
        np.testing.assert_array_equal(rows.labels(bias), (scores + bias).argmax(axis=1))


@pytest.mark.parametrize("classes", [2, 3, 7, 40])
@pytest.mark.parametrize("spread", [0.5, 3.0, 30.0])
def test_labels_on_a_line_are_those_of_all_classes(classes: int, spread: float) -> None:
    scores = (spread * DRAW.normal(size=(300, classes))).astype(np.float32)
    start, end = DRAW.normal(size=(2, classes)).astype(np.float32)
    rows = UndecidedRows.between(scores, start, end)
    for part in np.linspace(0.01, 0.99, 20, dtype=np.float32):
        bias = (1 - part) * start + part * end
        np.testing.assert_array_equal(rows.labels(bias), (scores + bias).argmax(axis=1))


def test_equal_scores_go_to_the_first_class_as_in_argmax() -> None:
    scores = np.zeros((5, 6), np.float32)
    scores[:, 4] = 1
    rows = UndecidedRows.in_box(scores, 1.5)
    assert rows.labels(np.zeros(6)).tolist() == [4] * 5
    assert rows.labels(np.array([0, 1.0, 1, 0, 0, 0])).tolist() == [1] * 5


def test_clear_rows_are_not_looked_at() -> None:
    scores = 100 * np.eye(4, dtype=np.float32)[[0, 1, 2, 3, 3]]
    rows = UndecidedRows.in_box(scores, 1.5)
    assert all(len(numbers) == 0 for numbers, _, _ in rows._parts)
    assert rows.labels(np.array([1.5, -1.5, 0, 0])).tolist() == [0, 1, 2, 3, 3]
