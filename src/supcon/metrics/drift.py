"""Whether the test rows are like the training rows, as an encoder sees them."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Features = npt.NDArray[np.floating]  # [rows, D]
Probabilities = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Drift:
    """How well a classifier tells test rows from held-out ones: 0.5 not at all, 1 without error."""

    auc: float
    standard_error: float
    held_out_probability: Probabilities  # of being a test row, [held-out rows], by a model that never saw the row
    test_probability: Probabilities  # [test rows]; the highest are the most foreign ones


def drift_auc(held_out: Features, test: Features, seed: int = 0, groups: npt.NDArray[np.int64] | None = None) -> Drift:
    """Return the cross-validated AUC of a logistic regression that tells held-out rows [n, D] from test rows [m, D].

    Both by the same encoder, which saw neither: beside rows it was trained on, any test row is foreign. `groups` [n] of
    the held-out rows never cross the folds, and widen the standard error. Fewer than 10 rows of a kind: nan.
    """
    raise NotImplementedError
