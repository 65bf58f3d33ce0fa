"""The decision: label = argmax_c(log p_c - alpha log prior_c + b_c); or probabilities, no smaller than a clip."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import Logits, LogProbabilities, log_softmax, merge_views
from supcon.metrics.metric import Metric, Prediction

# How far a decision is tuned, of labels: nothing, + temperature and alpha, + offsets; of probabilities: likewise.
LABEL_RUNGS = ("argmax", "prior", "thresholds")
PROBABILITY_RUNGS = ("raw", "temperature", "clipping")


@dataclass(frozen=True)
class Rule:
    """A decision over C classes; the default is plain argmax."""

    prior: tuple[float, ...]  # class shares of the training rows
    temperature: float = 1.0
    alpha: float = 0.0
    offsets: tuple[float, ...] = ()  # b_c; empty: 0. A reported threshold is exp(-b_c)
    rung: str = "argmax"
    clip: float = 0.0  # smallest probability that is submitted

    @property
    def bias(self) -> npt.NDArray[np.float64]:
        """What is added to the log-probabilities, [classes]."""
        offsets = np.asarray(self.offsets) if self.offsets else np.zeros(len(self.prior))
        bias: npt.NDArray[np.float64] = offsets - self.alpha * np.log(np.asarray(self.prior))
        return bias

    def decide(self, log_probabilities: LogProbabilities) -> npt.NDArray[np.int64]:
        """Return class numbers for merged log-probabilities [rows, classes]."""
        return (log_probabilities + self.bias).argmax(axis=1)

    def adjusted(self, log_probabilities: LogProbabilities) -> LogProbabilities:
        """Return the log-probabilities to submit where the host asks for them; the largest is the decided class."""
        decided = log_softmax(log_probabilities + self.bias)
        if self.clip == 0:
            return decided
        return log_softmax(np.maximum(decided, np.log(self.clip)))

    def predict(self, log_probabilities: LogProbabilities, metric: Metric) -> Prediction:
        """Return what `metric` scores: class numbers [rows], or log-probabilities [rows, classes]."""
        return (self.adjusted if metric.of_probabilities else self.decide)(log_probabilities)

    def predict_logits(self, logits: Logits, metric: Metric) -> Prediction:
        """Return the same for one model's logits [rows, views, classes]."""
        return self.predict(merge_views(logits, self.temperature), metric)

    def as_json(self, classes: list[str]) -> dict[str, Any]:
        """Return the rule with class names, thresholds written out."""
        thresholds = np.exp(-np.asarray(self.offsets)) if self.offsets else np.ones(len(self.prior))
        return {
            **asdict(self),
            "prior": dict(zip(classes, self.prior, strict=True)),
            "offsets": dict(zip(classes, self.offsets, strict=True)) if self.offsets else {},
            "thresholds": dict(zip(classes, thresholds.tolist(), strict=True)),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Rule":
        """Read what `as_json` made."""
        return cls(
            tuple(content["prior"].values()),
            content["temperature"],
            content["alpha"],
            tuple(content["offsets"].values()),
            content["rung"],
            content.get("clip", 0.0),
        )


def class_prior(true: npt.NDArray[np.int64], unscored: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Return the class shares of the rows `true` and of the `unscored` ones, a count of each class [classes].

    Each class is counted once more than it occurs, so that none is 0.
    """
    counts = np.bincount(true, minlength=len(unscored)) + unscored + 1.0
    return tuple((counts / counts.sum()).tolist())
