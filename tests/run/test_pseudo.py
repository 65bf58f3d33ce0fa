"""Which test rows get a label: the surest of each predicted class, the same share of every class."""

import numpy as np
import pytest

from supcon.decision.merge import log_softmax
from supcon.run.pseudo import surest

DRAW = np.random.default_rng(0)


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 1.0])
def test_every_predicted_class_gives_the_same_share_of_its_rows_and_at_least_one(share: float) -> None:
    rare_and_unsure = np.array([0.0, 0.0, -4.0])
    log_probabilities = log_softmax(3 * DRAW.normal(size=(400, 3)) + rare_and_unsure)
    rows = surest(log_probabilities, share, 0.0)
    predicted = log_probabilities.argmax(axis=1)
    sizes, taken = np.bincount(predicted), np.bincount(predicted[rows], minlength=3)
    assert sizes.min() < sizes.max() / 2
    assert taken.tolist() == [int(np.ceil(round(share * size, 6))) for size in sizes]
    for label in range(3):
        of_class = np.flatnonzero(predicted == label)
        others = np.setdiff1d(of_class, rows)
        confidence = log_probabilities[:, label]
        assert confidence[others].max(initial=-np.inf) <= confidence[np.intersect1d(of_class, rows)].min()


def test_no_row_below_the_smallest_confidence_is_taken() -> None:
    log_probabilities = log_softmax(DRAW.normal(size=(300, 4)))
    rows, fewer = surest(log_probabilities, 0.5, 0.0), surest(log_probabilities, 0.5, 0.6)
    confidence = np.exp(log_probabilities.max(axis=1))
    assert fewer.tolist() == [row for row in rows if confidence[row] >= 0.6]
    assert 0 < len(fewer) < len(rows)
    assert len(surest(log_probabilities, 0.5, 1.0)) == 0
    assert len(surest(log_probabilities[:0], 0.5, 0.0)) == 0


def test_rows_whose_confidence_rounds_to_one_are_still_told_apart() -> None:
    margins = np.array([50.0, 400.0, 60.0, 500.0])
    log_probabilities = log_softmax(np.column_stack([margins, np.zeros(4), np.zeros(4)]))
    assert (np.exp(log_probabilities.max(axis=1)) == 1).all()
    assert surest(log_probabilities, 0.5, 0.5).tolist() == [1, 3]


def test_equally_sure_rows_are_taken_in_their_order() -> None:
    certain = log_softmax(np.tile([[1e6, 0.0]], (10, 1)))
    assert surest(certain, 0.3, 0.5).tolist() == [0, 1, 2]
