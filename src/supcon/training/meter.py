"""The metrics of an epoch, fetched from the device now and then: asked for at each step they would make it wait."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from supcon.errors import UserError
from supcon.training import ranks
from supcon.training.health import Health

FETCH_EVERY = 20  # steps; on the CPU nothing waits, and each is looked at before it changes a weight

Metrics = dict[str, float]
StepMetrics = dict[str, float | Tensor]  # Tensor: a scalar, perhaps not computed yet


class Meter:
    """Adds up what the steps of one epoch tell, shows it to `Health`, and stops on a non-finite loss.

    Of several processes each adds its own, and all see the means.

    On a GPU a step that breaks the model is found up to `FETCH_EVERY` steps later, but before `means` gives the numbers
    of the epoch: a checkpoint that is saved after it holds a sound model.
    """

    def __init__(self, stage: str, label: str, epoch: int, device: torch.device, health: Health) -> None:
        """Take the stage's name, whose settings the cure names, and what messages begin with."""
        self._stage, self._label, self._epoch, self._health = stage, label, epoch, health
        self._every = 1 if device.type == "cpu" else FETCH_EVERY
        self._waiting: list[StepMetrics] = []
        self._steps = 0
        self._totals: Metrics = {}

    def add(self, loss: Tensor, norm: Tensor, metrics: Mapping[str, float | Tensor]) -> None:
        """Take a step's loss, gradient norm and further metrics. Raises `UserError` when some are not finite."""
        self._waiting.append({"loss": loss, "norm": norm, **metrics})
        if len(self._waiting) == self._every:
            self._fetch()

    def means(self) -> Metrics:
        """Return the mean of every metric. Raises `UserError` as `add` does."""
        self._fetch()
        return {name: total / self._steps for name, total in self._totals.items()}

    def _fetch(self) -> None:
        for metrics in map(ranks.mean, _numbers(self._waiting)):
            self._steps += 1
            norm = metrics.pop("norm")
            if not (math.isfinite(metrics["loss"]) and math.isfinite(norm)):
                raise UserError(
                    f"{self._label}: the loss is {metrics['loss']} with gradient norm {norm} at epoch"
                    f" {self._epoch + 1}, step {self._steps}: lower --{self._stage}.lr, or try --train.precision"
                    " float32"
                )
            self._health.batch(metrics)
            for name, value in metrics.items():
                self._totals[name] = self._totals.get(name, 0.0) + value
        self._waiting.clear()


def _numbers(steps: list[StepMetrics]) -> list[Metrics]:
    """Return the metrics as numbers, in one transfer."""
    scalars = [value.detach().float() for metrics in steps for value in metrics.values() if isinstance(value, Tensor)]
    fetched = iter(torch.stack(scalars).tolist() if scalars else [])
    return [
        {name: next(fetched) if isinstance(value, Tensor) else value for name, value in metrics.items()}
        for metrics in steps
    ]
