"""The decision: label = argmax_c(log p_c - alpha log prior_c + b_c); or probabilities, no smaller than a clip.

log p is the weighted mean of the runs' log-probabilities, each at its temperature.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import (
    Precision,
    clipped,
    log_softmax,
    merge_runs,
    merge_views,
    row_entropies,
    sharpen,
    tilted,
)
from supcon.decision.pieces import Logits, Piece, in_pieces, pieces
from supcon.metrics.metric import LogProbabilities, Metric, Prediction
from supcon.metrics.top_k import Candidates, M, blocks, joined, mean_of, on_values


@dataclass(frozen=True)
class Rule:
    """A decision over C classes; the default is plain argmax."""

    prior: tuple[float, ...]  # class shares of the training rows
    temperatures: tuple[float, ...] = (1.0,)  # of each run
    weights: tuple[float, ...] = (1.0,)  # of each run; they sum to 1
    alpha: float = 0.0
    offsets: tuple[float, ...] = ()  # b_c; empty: 0. A reported threshold is exp(-b_c)
    clip: float = 0.0  # smallest probability that is submitted
    rung: str = "argmax"  # how far it was tuned

    @property
    def bias(self) -> npt.NDArray[np.float64]:
        """What is added to the log-probabilities, [classes]."""
        offsets = np.asarray(self.offsets) if self.offsets else np.zeros(len(self.prior))
        bias: npt.NDArray[np.float64] = offsets - self.alpha * np.log(np.asarray(self.prior))
        return bias

    def decide(self, log_probabilities: LogProbabilities) -> npt.NDArray[np.int64]:
        """Return class numbers for merged log-probabilities [rows, classes]."""
        bias = self.bias
        return np.concatenate([(some + bias).argmax(axis=1) for some in blocks(log_probabilities)])

    def adjusted(self, log_probabilities: M) -> M:
        """Return the log-probabilities to submit where the host asks for them; the largest is the decided class."""
        decided = tilted(log_probabilities, self.bias)
        return decided if self.clip == 0 else clipped(decided, np.log(self.clip))

    def predict(self, log_probabilities: LogProbabilities, metric: Metric) -> Prediction:
        """Return what `metric` scores: class numbers [rows], or log-probabilities [rows, classes]."""
        return (self.adjusted if metric.of_probabilities else self.decide)(log_probabilities)

    @overload
    def merge(
        self, runs: Sequence[npt.NDArray[np.float32]], precision: Precision = np.float64
    ) -> npt.NDArray[np.float64]: ...

    @overload
    def merge(self, runs: Sequence[Logits], precision: Precision = np.float64) -> LogProbabilities: ...

    def merge(self, runs: Sequence[Logits], precision: Precision = np.float64) -> LogProbabilities:
        """Return the log-probabilities [rows, classes] of the runs' logits, each [rows, views, classes]."""
        return in_pieces(lambda piece: self._merge(piece, precision), runs)

    def at(self, temperature: float) -> "Rule":
        """Return the rule with every run's temperature times that."""
        return replace(self, temperatures=tuple(temperature * each for each in self.temperatures))

    def predict_runs(self, runs: Sequence[Logits], metric: Metric) -> Prediction:
        """Return what `metric` scores for the runs' logits, each of one model, [rows, views, classes]."""
        return in_pieces(lambda piece: self.predict(self._merge(piece), metric), runs)

    def merge_models(
        self, members: Sequence[Sequence[Logits]], beside: Sequence[Sequence[Logits]] = ()
    ) -> tuple[LogProbabilities, float]:
        """Return what `merge_members` makes of several models, each the runs' logits of the same rows."""
        runs, means, entropies = len(self.weights), [], []
        for piece in pieces([logits for model in (*members, *beside) for logits in model]):
            models = [self._merge(piece[start : start + runs]) for start in range(0, len(piece), runs)]
            means.append(self.mean(models))
            entropies.append([row_entropies(model) for model in models[: len(members)]])
        merged = joined(means)
        if len(members) + len(beside) == 1:
            return log_softmax(merged), 1.0
        return sharpen(merged, float(np.mean(np.concatenate(entropies, axis=1).mean(axis=1))))

    @staticmethod
    def mean(models: Sequence[M]) -> M:
        """Return the mean of several models' log-probabilities [rows, classes], not normalised."""
        mean = mean_of(models)  # of kept classes half as precise as of all: as their logits are
        return on_values(mean, lambda values, _: values.astype(np.float32)) if isinstance(mean, Candidates) else mean

    def _merge(self, runs: Sequence[Piece], precision: Precision = np.float64) -> LogProbabilities:
        parts = zip(runs, self.weights, self.temperatures, strict=True)
        return merge_runs([(merge_views(logits, t, precision), weight) for logits, weight, t in parts if weight > 0])

    def as_json(self, classes: list[str], runs: Sequence[str]) -> dict[str, Any]:
        """Return the rule with the names of classes and runs, thresholds written out."""
        thresholds = np.exp(-np.asarray(self.offsets)) if self.offsets else np.ones(len(self.prior))
        return {
            **asdict(self),
            "prior": dict(zip(classes, self.prior, strict=True)),
            "temperatures": dict(zip(runs, self.temperatures, strict=True)),
            "weights": dict(zip(runs, self.weights, strict=True)),
            "offsets": dict(zip(classes, self.offsets, strict=True)) if self.offsets else {},
            "thresholds": dict(zip(classes, thresholds.tolist(), strict=True)),
        }

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> "Rule":
        """Read what `as_json` made."""
        named: dict[str, Any] = {
            name: tuple(content[name].values()) for name in ("prior", "temperatures", "weights", "offsets")
        }
        return cls(**named, **{name: content[name] for name in ("alpha", "clip", "rung")})


def class_prior(true: npt.NDArray[np.int64], unscored: npt.NDArray[np.int64]) -> tuple[float, ...]:
    """Return the class shares of the rows `true` and of the `unscored` ones, a count of each class [classes].

    Each class is counted once more than it occurs, so that none is 0.
    """
    counts = np.bincount(true, minlength=len(unscored)) + unscored + 1.0
    return tuple((counts / counts.sum()).tolist())
