"""Where the rows of one kind stand among those of the other: what the area under the ROC curve is the mean of."""

import numpy as np

from supcon.arrays import FloatArray, Floats, RowMask


def placements(positive: RowMask, values: FloatArray) -> Floats:
    """Return for each row the part of the rows of the other kind that it stands on the right side of, [rows].

    A positive row should have the larger of the `values` [rows]; equal ones count half. Over the rows of either kind
    the mean is the area under the ROC curve; each row's difference from it is its influence on it (DeLong et al. 1988).
    """
    ranks, placed = _midranks(values), np.empty(len(values))
    for kind in (positive, ~positive):
        placed[kind] = (ranks[kind] - _midranks(values[kind])) / (~kind).sum()
    return np.where(positive, placed, 1 - placed)


def _midranks(values: FloatArray) -> Floats:
    """Return the rank of each value from 1 on, [rows]; equal ones share the mean of theirs."""
    _, kind, copies = np.unique(values, return_inverse=True, return_counts=True)
    return (np.cumsum(copies) - (copies - 1) / 2)[kind]
