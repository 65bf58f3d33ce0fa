"""The section on calibration: whether rows of confidence 0.8 are right in 8 of 10 cases."""

import numpy as np

from supcon.decision.calibration import negative_log_likelihood
from supcon.metrics.calibration import calibration_error, reliability_bins
from supcon.plots import reliability
from supcon.report.page import Block, Figure, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Run


def calibration(run: Run) -> list[Block]:
    """Show the reliability diagram, ECE and NLL before and after the temperature."""
    states = {"as predicted": run.log_probabilities, "at the temperature": run.calibrated}
    before, after = (reliability_bins(predicted, run.true) for predicted in states.values())
    rows = [
        [name, f"{negative_log_likelihood(predicted, run.true):.4f}", f"{calibration_error(predicted, run.true):.4f}"]
        for name, predicted in states.items()
    ]
    fitted = list(run.temperatures.values())
    return [
        Text(
            "Temperature divides the logits before views are merged; above 1 it makes the model less sure. Each fold's"
            f" is fitted to the other folds: {np.mean(fitted):.2f} on average, {min(fitted):.2f} to {max(fitted):.2f}."
        ),
        Figure(
            of_figure(reliability(before, after), "Accuracy over confidence"),
            "On the diagonal a confidence is kept; below it the model is too sure of itself.",
        ),
        Table(["probabilities", "NLL", "ECE"], rows, "Out of fold; lower is better"),
    ]
