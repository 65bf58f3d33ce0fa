"""Scores under corrupted images."""

from collections.abc import Mapping

from matplotlib.figure import Figure

Severities = Mapping[int, float]  # severity, 0 for the clean images, to score


def corruption_curves(
    scores: Mapping[str, Mapping[str, Severities]], metric: str = "macro-F1", title: str = ""
) -> Figure:
    """Draw a small panel a corruption: score over severity 0 .. 5, a line a run.

    `scores`: run to corruption to severity to score; what is missing is left out.
    """
    raise NotImplementedError


def corruption_heat(scores: Mapping[str, Severities], metric: str = "macro-F1", title: str = "") -> Figure:
    """Draw one run's scores as a table in colour: a row a corruption, worst on top, a column a severity."""
    raise NotImplementedError
