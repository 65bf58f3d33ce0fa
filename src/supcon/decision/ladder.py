"""The ladder of tuning: each rung is fitted on top of the rule of the rungs below it."""

from dataclasses import dataclass

from supcon.arrays import ClassCounts
from supcon.metrics.metric import Metric
from supcon.metrics.top_k import keeps_all
from supcon.settings.settings import TuneSettings

Rungs = tuple[str, ...]  # the rungs that a rule stands on, its own last

UNTUNED, UNTUNED_PROBABILITIES = "argmax", "raw"  # the lowest rung, where labels or probabilities are scored
SECOND_ROUND = "round two"  # the run trained on pseudo-labels in place of the run that gave them
PRIOR, THRESHOLDS = "prior", "thresholds"  # temperature and prior strength; an offset of each class
TEMPERATURE, CLIPPING = "temperature", "clipping"
GREEDY, WEIGHTS = "greedy", "weights"  # of several runs: by forward selection; by Optuna

_NEEDS = {THRESHOLDS: PRIOR, CLIPPING: TEMPERATURE}  # fitted below these rungs even where it was not chosen


@dataclass(frozen=True)
class TuningTask:
    """What decisions are tuned for."""

    metric: Metric
    settings: TuneSettings
    unscored: ClassCounts  # rows of each class that are always trained on and never scored, [classes]
    second_round: bool = False  # of two runs, the second is trained on the first one's pseudo-labels

    @property
    def has_thresholds(self) -> bool:
        """Whether thresholds are tried. They are not with a great many classes, many of which would share each."""
        return not self.metric.of_probabilities and keeps_all(len(self.unscored))

    def ladder(self, runs: int) -> Rungs:
        """Return all rungs to try for that many runs, the lowest first."""
        first, *tuned = (
            (UNTUNED_PROBABILITIES, TEMPERATURE, CLIPPING)
            if self.metric.of_probabilities
            else (UNTUNED, PRIOR, THRESHOLDS)
        )
        tuned = [rung for rung in tuned if rung != THRESHOLDS or self.has_thresholds]
        if self.second_round:
            return (first, SECOND_ROUND, *tuned)
        return (first, *tuned, GREEDY, WEIGHTS) if runs > 1 else (first, *tuned)


def rungs_up_to(rung: str, chosen: Rungs) -> Rungs:
    """Return the rungs of a rule of `rung` on top of the rule chosen so far."""
    needed = _NEEDS.get(rung)
    return (*chosen, rung) if needed is None or needed in chosen else (*chosen, needed, rung)
