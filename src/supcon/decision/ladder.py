"""How far a decision can be tuned: rungs, each fitted on top of a rule below it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supcon.metrics.metric import Metric
from supcon.metrics.top_k import keeps_all
from supcon.settings.settings import TuneSettings

Labels = npt.NDArray[np.int64]
Path = tuple[str, ...]  # the rungs that a rule stands on, its own last

UNTUNED, UNTUNED_PROBABILITIES = "argmax", "raw"
SECOND_ROUND = "round two"  # the run trained on pseudo-labels in place of the run that gave them
PRIOR, THRESHOLDS = "prior", "thresholds"  # temperature and prior strength; + offsets of the classes
TEMPERATURE, CLIPPING = "temperature", "clipping"
GREEDY, WEIGHTS = "greedy", "weights"  # of several runs: by forward selection; by Optuna

_BELOW = {THRESHOLDS: PRIOR, CLIPPING: TEMPERATURE}  # what these rungs cannot do without, kept or not


@dataclass(frozen=True)
class Goal:
    """What decisions are tuned for."""

    metric: Metric
    settings: TuneSettings
    unscored: Labels  # rows of each class that are always trained on and never scored, [classes]
    second_round: bool = False  # of two runs, the second is trained on the first one's pseudo-labels

    @property
    def has_thresholds(self) -> bool:
        """Whether thresholds are tried: of a great many classes each would be shared by many, as the prior is."""
        return not self.metric.of_probabilities and keeps_all(len(self.unscored))

    def rungs(self, runs: int) -> Path:
        """Return the ladder for that many runs."""
        first, *tuned = (
            (UNTUNED_PROBABILITIES, TEMPERATURE, CLIPPING)
            if self.metric.of_probabilities
            else (UNTUNED, PRIOR, THRESHOLDS)
        )
        tuned = [rung for rung in tuned if rung != THRESHOLDS or self.has_thresholds]
        if self.second_round:
            return (first, SECOND_ROUND, *tuned)
        return (first, *tuned, GREEDY, WEIGHTS) if runs > 1 else (first, *tuned)


def path_to(rung: str, chosen: Path) -> Path:
    """Return the rungs of a rule of `rung` on top of the rule chosen so far."""
    below = _BELOW.get(rung)
    return (*chosen, rung) if below is None or below in chosen else (*chosen, below, rung)
