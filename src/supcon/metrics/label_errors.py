"""Rows whose label is probably wrong."""

import warnings
from dataclasses import dataclass

import numpy as np

from supcon.arrays import Labels, Probabilities, Rows


@dataclass(frozen=True)
class LabelErrors:
    """Suspicious rows, the most suspicious first."""

    rows: Rows  # [n], among the rows that were given
    likely: Labels  # [n], the class that they probably are
    self_confidence: Probabilities  # [n], of the given label


def label_errors(log_probabilities: Probabilities, labels: Labels) -> LabelErrors:
    """Return the rows whose labels confident learning (Northcutt et al. 2021) takes for wrong.

    `log_probabilities` [rows, classes] must be out of fold: a model that was trained on a wrong label believes it.
    """
    from cleanlab.filter import find_label_issues  # takes two seconds to import

    probabilities = np.exp(log_probabilities)
    probabilities /= probabilities.sum(axis=1, keepdims=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # that classes with few rows can hardly be judged
        suspicious = find_label_issues(labels, probabilities, return_indices_ranked_by="self_confidence", n_jobs=1)
    rows = np.asarray(suspicious, np.int64)
    likely = probabilities[rows].argmax(axis=1)
    return LabelErrors(rows, likely, probabilities[rows, labels[rows]])
