"""Calibration: whether rows of confidence 0.8 are right in 8 of 10 cases."""

from dataclasses import dataclass

import numpy as np

from supcon.arrays import Floats, Labels, Rows
from supcon.metrics.of_probabilities import LogProbabilities


@dataclass(frozen=True)
class ReliabilityBins:
    """Rows by the confidence of their likeliest class, in bins from low to high."""

    confidence: Floats  # [bins], mean confidence of a bin's rows; nan without rows
    accuracy: Floats  # [bins], share of its rows whose likeliest class is true; nan without rows
    count: Rows  # [bins], how many rows
    edges: Floats  # [bins + 1]

    @property
    def error(self) -> float:
        """Expected calibration error over these bins: mean of |accuracy - confidence|, weighed by their rows."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.count) / max(self.count.sum(), 1))


def reliability_bins(log_probabilities: LogProbabilities, true: Labels, bins: int = 10) -> ReliabilityBins:
    """Return bins of equal width over 0 .. 1, for the reliability diagram."""
    return _bins(log_probabilities, true, np.linspace(0, 1, bins + 1))


def calibration_error(log_probabilities: LogProbabilities, true: Labels, bins: int = 15) -> float:
    """Return the expected calibration error of the likeliest class (Guo et al. 2017), over bins of equal mass.

    With bins of equal width a good model has nearly all rows in the highest bin, where errors of both signs cancel out,
    and few, noisy ones in the others: bins with equally many rows are less biased (Nixon et al. 2019, Roelofs et al.
    2022). Rows of equal confidence share a bin. `nan` without rows.
    """
    if len(true) == 0:
        return float("nan")
    confidence = np.exp(log_probabilities.max(axis=1))
    return _bins(log_probabilities, true, np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)))).error


def _bins(log_probabilities: LogProbabilities, true: Labels, edges: Floats) -> ReliabilityBins:
    confidence = np.exp(log_probabilities.max(axis=1))
    right = log_probabilities.argmax(axis=1) == true
    count = max(len(edges) - 1, 1)
    bin_of_row = np.searchsorted(edges[1:count], confidence, side="right")
    rows = np.bincount(bin_of_row, minlength=count)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan: a bin without rows
        means = [np.bincount(bin_of_row, values, minlength=count) / rows for values in (confidence, right)]
    return ReliabilityBins(means[0], means[1], rows, edges)
