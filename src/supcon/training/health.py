"""The metrics of an epoch, and warnings of what goes wrong in contrastive training, each with its likely cure.

Metrics are fetched from the device every few steps: a fetch at each step would make it wait. Warnings never change the
training.
"""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from tqdm import tqdm

from supcon.errors import UserError
from supcon.training import ranks

Metrics = dict[str, float]
StepMetrics = dict[str, float | Tensor]  # a Tensor is a scalar that the device may not have computed yet

FETCH_INTERVAL = 20  # steps between two fetches on a GPU; on the CPU a fetch costs nothing, and every step is checked
# An epoch has collapsed when its mean loss is this near to the loss of equal embeddings, as a share of the distance
# between that loss and the floor.
COLLAPSED = 0.02
FEW_VALID = 0.5  # share of images with positives below which most of a batch teaches nothing
EQUAL = 1e-6  # relative: bounds that differ by no more than rounding are equal, which means that no image has negatives
BELOW_FLOOR = 1e-2  # how far below its floor a loss may be: far more than rounding explains

_STEPS = {  # stage -> what steadies it
    "pretrain": "raise --train.warmup or lower --pretrain.lr",
    "finetune": "raise --train.warmup or lower --finetune.encoder_lr",
}
_POSITIVES = {  # stage -> what gives it more positives
    "pretrain": "raise --batches.images_per_class or --pretrain.views to 2 or more",
    "finetune": "raise --finetune.views to 2 or more, or --finetune.batches pk",
}
_NEGATIVES = {  # stage -> what gives it negatives
    "pretrain": "raise --batches.classes_per_batch to 2 or more",
    "finetune": "raise --finetune.batch_size, or with --finetune.batches pk --batches.classes_per_batch to 2 or more",
}


class Health:
    """Monitors whether a stage's contrastive loss stays between its bounds.

    Each kind of trouble is reported when it first occurs, and again at the end if the last epoch still has it. Metrics
    without `collapse` (of a stage without a contrastive term) are ignored.
    """

    def __init__(self, stage: str, label: str, epochs: int, report: Callable[[str], object] = tqdm.write) -> None:
        """Take the name of the stage, which selects the cures, and the `label` that every reported line begins with."""
        self._stage, self._label, self._epochs, self._report = stage, label, epochs, report
        self._batches: list[tuple[float, ...]] = []
        self._reported: set[str] = set()  # kinds of trouble
        self._present: dict[str, str] = {}  # kind of trouble in the newest epoch -> line

    def batch(self, metrics: Mapping[str, float]) -> None:
        """Check one batch.

        `metrics` hold its `floor`, `collapse`, `valid` and `loss`; `contrastive` too where the loss has other terms.
        """
        if "collapse" not in metrics:
            return
        if not self._batches:
            self._present.clear()
        loss, floor, valid = metrics.get("contrastive", metrics["loss"]), metrics["floor"], metrics["valid"]
        self._batches.append((loss, floor, metrics["collapse"], valid))
        if valid == 0:
            self._add("anchors", f"no image of a batch had a positive: {_POSITIVES[self._stage]}")
        if loss < floor - BELOW_FLOOR:
            self._add(
                "floor",
                f"the contrastive loss {loss:.4g} is below its floor {floor:.4g}, which cannot be: the labels or the"
                " loss are broken, so run `./run.sh test`",
            )

    def epoch(self, epoch: int) -> None:
        """Check the means of an epoch, counted from 0. The first of several epochs may still be near collapse."""
        if not self._batches:
            return
        count = len(self._batches)
        loss, floor, collapse, valid = (sum(values) / count for values in zip(*self._batches, strict=True))
        self._batches.clear()
        if valid > 0 and collapse - floor <= EQUAL * max(1.0, abs(collapse)):
            self._add(
                "negatives",
                f"no image of epoch {epoch + 1} had a negative in its batch, so that equal embeddings are the best:"
                f" {_NEGATIVES[self._stage]}",
            )
        elif (epoch > 0 or self._epochs == 1) and abs(loss - collapse) < COLLAPSED * (collapse - floor):
            self._add(
                "collapse",
                f"the contrastive loss of epoch {epoch + 1}, {loss:.4g}, is that of equal embeddings ({collapse:.4g}):"
                f" {_STEPS[self._stage]}",
            )
        if 0 < valid < FEW_VALID:
            self._add("anchors", f"only {valid:.0%} of the images had a positive: {_POSITIVES[self._stage]}")

    def end(self) -> None:
        """Report again the troubles that the last epoch still had."""
        for line in self._present.values():
            self._report(f"{self._label}: to the end, {line}")

    def _add(self, kind: str, line: str) -> None:
        if kind not in self._reported:
            self._reported.add(kind)
            self._report(f"{self._label}: {line}")
        self._present[kind] = line


class Meter:
    """Adds up the metrics of one epoch's steps, passes them to `Health`, and stops on a non-finite loss.

    Each of several processes adds its own metrics, and all get the means over processes. Where the gradient may
    overflow, since its loss is scaled, steps in which it did are counted, and leave no trace in the means.

    On a GPU a step with a non-finite loss is found up to `FETCH_INTERVAL` steps later, but always before `means`
    returns: a checkpoint that is saved after `means` holds a sound model.
    """

    def __init__(
        self, stage: str, label: str, epoch: int, device: torch.device, health: Health, *, may_overflow: bool = False
    ) -> None:
        """Take the name of the stage, which the cure names settings of, and the `label` that messages begin with."""
        self._skipped = 0 if may_overflow else None
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
        """Return the mean of every metric, and the number of `skipped` steps where there may be some.

        Raises `UserError` as `add` does, and where every step of the epoch was skipped.
        """
        self._fetch()
        if self._skipped is None:
            return {name: total / self._steps for name, total in self._totals.items()}
        if self._skipped == self._steps:
            raise UserError(
                f"{self._label}: no step of epoch {self._epoch + 1} had a gradient that float16 holds: lower"
                f" --{self._stage}.lr, or take --train.precision float32"
            )
        taken = self._steps - self._skipped
        return {name: total / taken for name, total in self._totals.items()} | {"skipped": float(self._skipped)}

    def _fetch(self) -> None:
        for metrics in map(ranks.mean, _numbers(self._waiting)):
            self._steps += 1
            norm = metrics.pop("norm")
            if self._skipped is not None and math.isfinite(metrics["loss"]) and not math.isfinite(norm):
                self._skipped += 1
                continue
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
