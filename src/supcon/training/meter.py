"""The metrics of an epoch, fetched from the device every few steps: a fetch at each step would make it wait."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor

from supcon.errors import UserError
from supcon.training import ranks
from supcon.training.health import Health

FETCH_INTERVAL = 20  # steps between two fetches on a GPU; on the CPU a fetch costs nothing, and every step is checked

Metrics = dict[str, float]
StepMetrics = dict[str, float | Tensor]  # a Tensor is a scalar that the device may not have computed yet


class Meter:
    """Adds up the metrics of one epoch's steps, passes them to `Health`, and stops on a non-finite loss.

    Each of several processes adds its own metrics, and all get the means over processes.

    On a GPU a step with a non-finite loss is found up to `FETCH_INTERVAL` steps later, but always before `means`
    returns: a checkpoint that is saved after `means` holds a sound model.
    """

    def __init__(self, stage: str, label: str, epoch: int, device: torch.device, health: Health) -> None:
        """Take the name of the stage, which the cure names settings of, and the `label` that messages begin with."""
        self._stage, self._label, self._epoch, self._health = stage, label, epoch, health
        self._interval = 1 if device.type == "cpu" else FETCH_INTERVAL
        self._waiting: list[StepMetrics] = []
        self._steps = 0
        self._totals: Metrics = {}

    def add(self, loss: Tensor, norm: Tensor, metrics: Mapping[str, float | Tensor]) -> None:
        """Add a step's loss, gradient norm and further metrics. Raises `UserError` for a non-finite loss or norm."""
        self._waiting.append({"loss": loss, "norm": norm, **metrics})
        if len(self._waiting) == self._interval:
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
    """Return the metrics as numbers, all fetched from the device in one transfer."""
    scalars = [value.detach().float() for metrics in steps for value in metrics.values() if isinstance(value, Tensor)]
    fetched = iter(torch.stack(scalars).tolist() if scalars else [])
    return [
        {name: next(fetched) if isinstance(value, Tensor) else value for name, value in metrics.items()}
        for metrics in steps
    ]
