"""Whether a confidence of 0.8 is right in 8 of 10 rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supcon.metrics.metric import LogProbabilities

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class ReliabilityBins:
    """Rows by the confidence of their likeliest class, in bins from low to high."""

    confidence: Floats  # [bins], mean confidence of a bin's rows; nan without rows
    accuracy: Floats  # [bins], share of its rows whose likeliest class is true; nan without rows
    count: npt.NDArray[np.int64]  # [bins]
    edges: Floats  # [bins + 1]

    @property
    def error(self) -> float:
        """Expected calibration error over these bins: mean of |accuracy - confidence|, weighed by their rows."""
        gaps = np.abs(self.accuracy - self.confidence)
        return float(np.nansum(gaps * self.count) / max(self.count.sum(), 1))


def reliability_bins(
    log_probabilities: LogProbabilities, true: npt.NDArray[np.int64], bins: int = 10
) -> ReliabilityBins:
    """Return bins of equal width over 0 .. 1, for the diagram: of [rows, classes] and class numbers [rows]."""
    return _bins(log_probabilities, true, np.linspace(0, 1, bins + 1))


def calibration_error(log_probabilities: LogProbabilities, true: npt.NDArray[np.int64], bins: int = 15) -> float:
    """Return the expected calibration error of the likeliest class (Guo et al. 2017), over bins of equal mass.

    A good model puts nearly all rows into the highest bin of equal width, where errors of both signs cancel out, and a
    few into the others, which are noise: bins of as many rows each are the less biased estimate (Nixon et al. 2019,
    Roelofs et al. 2022). Rows of one confidence share a bin. `nan` without rows.
    """
    if len(true) == 0:
        return float("nan")
    confidence = np.exp(log_probabilities.max(axis=1))
    return _bins(log_probabilities, true, np.unique(np.quantile(confidence, np.linspace(0, 1, bins + 1)))).error


def _bins(log_probabilities: LogProbabilities, true: npt.NDArray[np.int64], edges: Floats) -> ReliabilityBins:
    confidence = np.exp(log_probabilities.max(axis=1))
    right = log_probabilities.argmax(axis=1) == true
    count = max(len(edges) - 1, 1)
    place = np.searchsorted(edges[1:count], confidence, side="right")
    rows = np.bincount(place, minlength=count)
    with np.errstate(invalid="ignore"):  # 0 / 0 is nan: a bin without rows
        means = [np.bincount(place, values, minlength=count) / rows for values in (confidence, right)]
    return ReliabilityBins(means[0], means[1], rows, edges)
