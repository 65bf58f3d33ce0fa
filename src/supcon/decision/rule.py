"""The decision: label = argmax_c(log p_c - alpha log prior_c + b_c), or probabilities of at least a clip.

log p is the weighted mean of the runs' log-probabilities, each run at its temperature.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import numpy as np

from supcon.arrays import ClassCounts, Floats, Labels
from supcon.decision.logits import LoadedLogits, Logits, logit_blocks, map_blocks
from supcon.decision.merge import (
    Precision,
    clipped,
    log_softmax,
    merge_runs,
    merge_views,
    row_entropies,
    sharpen,
    with_bias,
)
from supcon.metrics.metric import Metric, Prediction
from supcon.metrics.of_probabilities import LogProbabilities
from supcon.metrics.top_k import M, TopK, blocks, joined, map_values, mean_of


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
    def bias(self) -> Floats:
        """What is added to the log-probabilities, [classes]."""
        offsets = np.asarray(self.offsets) if self.offsets else np.zeros(len(self.prior))
        return cast(Floats, offsets - self.alpha * np.log(np.asarray(self.prior)))

    def decide(self, log_probabilities: LogProbabilities) -> Labels:
        """Return class numbers for merged log-probabilities [rows, classes]."""
        bias = self.bias
        return np.concatenate([(block + bias).argmax(axis=1) for block in blocks(log_probabilities)])

    def adjusted(self, log_probabilities: M) -> M:
        """Return the log-probabilities to submit where the host asks for them; the decided class has the largest."""
        decided = with_bias(log_probabilities, self.bias)
        return decided if self.clip == 0 else clipped(decided, np.log(self.clip))

    def predict(self, log_probabilities: LogProbabilities, metric: Metric) -> Prediction:
        """Return what `metric` scores: class numbers [rows], or log-probabilities [rows, classes]."""
        return (self.adjusted if metric.of_probabilities else self.decide)(log_probabilities)

    def merge(self, runs: Sequence[Logits], precision: Precision = np.float64) -> LogProbabilities:
        """Return the merged log-probabilities [rows, classes] of the runs' logits, [rows, views, classes] each."""
        return map_blocks(lambda block: self._merge(block, precision), runs)

    def at(self, temperature: float) -> "Rule":
        """Return the rule with every run's temperature multiplied by `temperature`."""
        return replace(self, temperatures=tuple(temperature * own for own in self.temperatures))

    def predict_runs(self, runs: Sequence[Logits], metric: Metric) -> Prediction:
        """Return what `metric` scores, from the logits [rows, views, classes] of one model of each run."""
        return map_blocks(lambda block: self.predict(self._merge(block), metric), runs)

    def merge_models(
        self, members: Sequence[Sequence[Logits]], beside: Sequence[Sequence[Logits]] = ()
    ) -> tuple[LogProbabilities, float]:
        """Return what `merge_members` returns for several models; a model is the runs' logits of the same rows."""
        runs, means, entropies = len(self.weights), [], []
        for block in logit_blocks([logits for model in (*members, *beside) for logits in model]):
            models = [self._merge(block[start : start + runs]) for start in range(0, len(block), runs)]
            means.append(self.mean(models))
            entropies.append([row_entropies(model) for model in models[: len(members)]])
        merged = joined(means)
        if len(members) + len(beside) == 1:
            return log_softmax(merged), 1.0
        return sharpen(merged, float(np.mean(np.concatenate(entropies, axis=1).mean(axis=1))))

    @staticmethod
    def mean(models: Sequence[M]) -> M:
        """Return the mean of several models' log-probabilities [rows, classes], not normalised."""
        mean = mean_of(models)  # in single precision where not all classes are kept, as their logits are
        return map_values(mean, lambda values, _: values.astype(np.float32)) if isinstance(mean, TopK) else mean

    def _merge(self, runs: Sequence[LoadedLogits], precision: Precision = np.float64) -> LogProbabilities:
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
        """Return the rule that `as_json` wrote."""
        by_name: dict[str, Any] = {
            name: tuple(content[name].values()) for name in ("prior", "temperatures", "weights", "offsets")
        }
        return cls(**by_name, **{name: content[name] for name in ("alpha", "clip", "rung")})


def class_prior(true: Labels, unscored: ClassCounts) -> tuple[float, ...]:
    """Return each class's share of all rows: those of the labels `true` [rows], and `unscored` more [classes].

    Each class is counted once more than it occurs, so that no share is 0.
    """
    counts = np.bincount(true, minlength=len(unscored)) + unscored + 1.0
    return tuple((counts / counts.sum()).tolist())
