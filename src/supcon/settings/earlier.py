"""The settings of a run that starts from earlier runs: typed, documented, with defaults and bounds."""

from dataclasses import dataclass, field
from typing import Literal

from supcon.settings.bounds import bounded


@dataclass(frozen=True)
class PseudoSettings:
    """A second round: both training stages also learn the test and held-out rows that an earlier run is sure of."""

    run: str = ""
    """The earlier run, on the same split; empty: none. Each fold learns what that run's model of the fold says."""
    share: float = bounded(0.5, 0.001, 1)
    """Part of the rows of each predicted class that get a label, the surest first, at least one row."""
    min_confidence: float = bounded(0.5, 0, 1)
    """Smallest probability of a label, calibrated on held-out rows of the other folds."""


@dataclass(frozen=True)
class AverageSettings:
    """A run that trains nothing: its weights are the mean of those of other runs (a model soup, Wortsman et al. 2022,
    arXiv 2203.05482)."""

    runs: list[str] = field(default_factory=list)
    """Runs whose weights are averaged, fold by fold, as --runs A B with --soup sets it. They must have started from the
    same weights; the settings are those of the first. Empty: the run is trained."""
    choice: Literal["greedy", "uniform"] = "greedy"
    """uniform: all of them; greedy: best first, each that does not lower the score of the average so far. What is
    averaged in a fold is chosen by rows that other folds hold out."""
