"""What can go wrong in contrastive training, named in the log with its likely cure. It never changes the training."""

from collections.abc import Callable, Mapping

from tqdm import tqdm

COLLAPSED = 0.02  # an epoch has collapsed when its mean loss is nearer to the collapse value than this part of the way
FEW_VALID = 0.5  # share of images with positives below which most of a batch teaches nothing
EQUAL = 1e-6  # relative: bounds no further apart than rounding are equal, and then there is nothing to push apart
BELOW_FLOOR = 1e-2  # more than rounding takes a loss below its floor

_STEPS = {  # stage -> what steadies it
    "pretrain": "raise --pretrain.warmup or lower --pretrain.lr",
    "finetune": "raise --finetune.warmup or lower --finetune.encoder_lr",
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
    """Watches a stage's contrastive loss between its bounds.

    Each kind of trouble is named when it first comes, and once more at the end when the last epoch still has it.
    Metrics without `collapse` (no contrastive term) are passed over.
    """

    def __init__(self, stage: str, label: str, epochs: int, say: Callable[[str], object] = tqdm.write) -> None:
        """Take the stage's name, whose settings the cures name, what its lines begin with, and its number of epochs."""
        self._stage, self._label, self._epochs, self._say = stage, label, epochs, say
        self._batches: list[tuple[float, ...]] = []
        self._named: set[str] = set()
        self._present: dict[str, str] = {}  # kind -> line, in the newest epoch

    def batch(self, metrics: Mapping[str, float]) -> None:
        """Look at a batch: its `loss` (`contrastive` where that has other terms), `floor`, `collapse` and `valid`."""
        if "collapse" not in metrics:
            return
        if not self._batches:
            self._present.clear()
        loss, floor, valid = metrics.get("contrastive", metrics["loss"]), metrics["floor"], metrics["valid"]
        self._batches.append((loss, floor, metrics["collapse"], valid))
        if valid == 0:
            self._name("anchors", f"no image of a batch had a positive: {_POSITIVES[self._stage]}")
        if loss < floor - BELOW_FLOOR:
            self._name(
                "floor",
                f"the contrastive loss {loss:.4g} is below its floor {floor:.4g}, which cannot be: the labels or the"
                " loss are broken, so run `./run.sh test`",
            )

    def epoch(self, epoch: int) -> None:
        """Look at the means of an epoch, counted from 0; the first of several may still be near collapse."""
        if not self._batches:
            return
        count = len(self._batches)
        loss, floor, collapse, valid = (sum(values) / count for values in zip(*self._batches, strict=True))
        self._batches.clear()
        if valid > 0 and collapse - floor <= EQUAL * max(1.0, abs(collapse)):
            self._name(
                "negatives",
                f"no image of epoch {epoch + 1} had a negative in its batch, so that equal embeddings are the best:"
                f" {_NEGATIVES[self._stage]}",
            )
        elif (epoch > 0 or self._epochs == 1) and abs(loss - collapse) < COLLAPSED * (collapse - floor):
            self._name(
                "collapse",
                f"the contrastive loss of epoch {epoch + 1}, {loss:.4g}, is that of equal embeddings ({collapse:.4g}):"
                f" {_STEPS[self._stage]}",
            )
        if 0 < valid < FEW_VALID:
            self._name("anchors", f"only {valid:.0%} of the images had a positive: {_POSITIVES[self._stage]}")

    def end(self) -> None:
        """Name again what the last epoch still had."""
        for line in self._present.values():
            self._say(f"{self._label}: to the end, {line}")

    def _name(self, kind: str, line: str) -> None:
        if kind not in self._named:
            self._named.add(kind)
            self._say(f"{self._label}: {line}")
        self._present[kind] = line
