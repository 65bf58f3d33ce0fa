"""The reliability diagram."""

from matplotlib.figure import Figure

from supcon.metrics.calibration import ReliabilityBins


def reliability(before: ReliabilityBins, after: ReliabilityBins | None = None, title: str = "") -> Figure:
    """Draw accuracy over confidence, bin by bin, against the diagonal of a calibrated model; rows a bin below.

    `before` and `after` the temperature, by `supcon.metrics.calibration.reliability_bins`. Bins without rows have no
    point.
    """
    raise NotImplementedError
