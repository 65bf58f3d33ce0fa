"""The decision: label = argmax_c(log p_c - alpha log prior_c + b_c)."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import Logits, LogProbabilities, merge_views

RUNGS = ("argmax", "prior", "thresholds")  # how far a decision is tuned: nothing; + temperature and alpha; + offsets


@dataclass(frozen=True)
class Rule:
    """A decision over C classes; the default is plain argmax."""

    prior: tuple[float, ...]  # class shares of the training rows
    temperature: float = 1.0
    alpha: float = 0.0
    offsets: tuple[float, ...] = ()  # b_c; empty: 0. A reported threshold is exp(-b_c)
    rung: str = "argmax"

    @property
    def bias(self) -> npt.NDArray[np.float64]:
        """What is added to the log-probabilities, [classes]."""
        offsets = np.asarray(self.offsets) if self.offsets else np.zeros(len(self.prior))
        bias: npt.NDArray[np.float64] = offsets - self.alpha * np.log(np.asarray(self.prior))
        return bias

    def decide(self, log_probabilities: LogProbabilities) -> npt.NDArray[np.int64]:
        """Return class numbers for merged log-probabilities [rows, classes]."""
        return (log_probabilities + self.bias).argmax(axis=1)

    def decide_logits(self, logits: Logits) -> npt.NDArray[np.int64]:
        """Return class numbers for one model's logits [rows, views, classes]."""
        return self.decide(merge_views(logits, self.temperature))

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
        )


def class_prior(true: npt.NDArray[np.int64], classes: int) -> tuple[float, ...]:
    """Return the class shares, each class counted once more than it occurs, so that none is 0."""
    counts = np.bincount(true, minlength=classes) + 1.0
    return tuple((counts / counts.sum()).tolist())
