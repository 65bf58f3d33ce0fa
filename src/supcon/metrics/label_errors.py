"""Rows whose label is probably wrong."""

import warnings
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class LabelErrors:
    """Suspicious rows, the most suspicious first."""

    rows: Labels  # [found], places in what was given
    likely: Labels  # [found], the class that they probably are
    self_confidence: npt.NDArray[np.float64]  # [found], probability of the label given


def label_errors(log_probabilities: npt.NDArray[np.float64], labels: Labels) -> LabelErrors:
    """Return the rows whose labels confident learning (Northcutt et al. 2021) takes for wrong.

    `log_probabilities` [rows, classes] must be out of fold: a model that was trained on a wrong label believes it.
    """
    from cleanlab.filter import find_label_issues  # two seconds with what it imports

    probabilities = np.exp(log_probabilities)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of classes with few rows, in which little can be found
        found = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    rows = np.asarray(found, np.int64)
    likely = probabilities[rows].argmax(axis=1)
    return LabelErrors(rows, likely, probabilities[rows, labels[rows]])
