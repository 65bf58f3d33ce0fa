"""Whether a confidence of 0.8 is right in 8 of 10 rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supcon.metrics.metric import LogProbabilities


@dataclass(frozen=True)
class ReliabilityBins:
    """Rows by the confidence of their likeliest class, in bins from low to high."""

    confidence: npt.NDArray[np.float64]  # [bins], mean confidence of a bin's rows; nan without rows
    accuracy: npt.NDArray[np.float64]  # [bins], share of its rows whose likeliest class is true; nan without rows
    count: npt.NDArray[np.int64]  # [bins]
    edges: npt.NDArray[np.float64]  # [bins + 1]

    @property
    def error(self) -> float:
        """Expected calibration error over these bins: mean of |accuracy - confidence|, weighed by their rows."""
        raise NotImplementedError


def reliability_bins(
    log_probabilities: LogProbabilities, true: npt.NDArray[np.int64], bins: int = 10
) -> ReliabilityBins:
    """Return bins of equal width over 0 .. 1, for the diagram: [rows, classes] and class numbers [rows]."""
    raise NotImplementedError


def calibration_error(log_probabilities: LogProbabilities, true: npt.NDArray[np.int64], bins: int = 15) -> float:
    """Return the expected calibration error of the likeliest class (Guo et al. 2017) over bins of equal mass."""
    raise NotImplementedError
