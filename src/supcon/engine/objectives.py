"""What the two training stages minimise."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.config.settings import FinetuneSettings, PretrainSettings
from supcon.engine.loop import Metrics
from supcon.losses import contrastive_bounds, contrastive_loss
from supcon.losses.batch import count_positives
from supcon.metrics.geometry import alignment, uniformity
from supcon.metrics.knn import knn_macro_f1
from supcon.model.zoo import timm

HeldOut = Callable[[nn.Module], tuple[Tensor, Tensor]]  # encoder -> features [Q, D] and labels [Q] of held-out rows


class ContrastivePretraining:
    """The contrastive loss of a model with the parts `encoder` and `projection`."""

    def __init__(self, settings: PretrainSettings, classes: int, held_out: HeldOut) -> None:
        """Take `held_out` to watch the kNN score of rows that the fold never trains on."""
        self._settings, self._classes, self._held_out = settings, classes, held_out
        self._bank: list[tuple[Tensor, Tensor]] = []  # the epoch's features: a free bank for the neighbours

    def loss(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, progress: float) -> tuple[Tensor, Metrics]:
        """Return the loss over all views of the batch."""
        labels = labels.repeat_interleave(views.shape[1])
        features = model["encoder"](views.flatten(0, 1))
        settings = self._settings
        loss = contrastive_loss(
            model["projection"](features), labels, form=settings.form, temperature=settings.temperature
        )
        self._bank.append((features.detach(), labels))
        floor, collapse = contrastive_bounds(labels, settings.temperature)
        valid = (count_positives(labels) > 0).float().mean().item()
        return loss, {"floor": floor, "collapse": collapse, "valid": valid}

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return the kNN macro-F1 of held-out rows among the epoch's training features, and their geometry."""
        bank, bank_labels = (torch.cat(part) for part in zip(*self._bank, strict=True))
        self._bank.clear()
        queries, labels = self._held_out(model["encoder"])
        queries = queries.to(bank.device)
        score = knn_macro_f1(bank, bank_labels, queries, labels, self._classes)
        return {"knn_macro_f1": score, **_geometry(model["projection"], queries, labels.to(bank.device))}


class Classification:
    """Cross-entropy of a model with the parts `encoder` and `classifier`, and `projection` for a contrastive term."""

    def __init__(
        self,
        settings: FinetuneSettings,
        contrast: PretrainSettings,
        prior: Tensor,
        held_out_score: Callable[[nn.ModuleDict], float],
    ) -> None:
        """Take the class shares `prior` [C] that batches are drawn with, and the monitor of held-out rows."""
        self._settings, self._contrast, self._held_out_score = settings, contrast, held_out_score
        self._adjustment = settings.logit_adjustment * prior.log()
        self._mixup = _make_mixup(settings, len(prior))

    def loss(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, progress: float) -> tuple[Tensor, Metrics]:
        """Return cross-entropy plus the weighted contrastive loss over all views of the batch."""
        settings = self._settings
        labels = labels.repeat_interleave(views.shape[1])
        images, targets = self._mixed(views.flatten(0, 1), labels)
        features = model["encoder"](images)
        logits = model["classifier"](features).float() + self._adjustment
        smoothing = settings.label_smoothing if self._mixup is None else 0.0  # mixed targets are smoothed already
        loss = F.cross_entropy(logits, targets, label_smoothing=smoothing)
        weight = contrastive_weight(settings, progress)
        if weight == 0:
            return loss, {}
        contrast = contrastive_loss(
            model["projection"](features), labels, form=self._contrast.form, temperature=self._contrast.temperature
        )
        return loss + weight * contrast, {"cross_entropy": loss.item(), "contrastive": contrast.item()}

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return the macro-F1 of held-out rows."""
        return {"held_out_macro_f1": self._held_out_score(model)}

    def _mixed(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._mixup is None:
            return images, labels
        even = len(images) // 2 * 2  # timm's mixup pairs images within the batch
        mixed, targets = self._mixup(images[:even].permute(0, 3, 1, 2).float(), labels[:even])
        return mixed.permute(0, 2, 3, 1), targets


@torch.inference_mode()
def _geometry(projection: nn.Module, features: Tensor, labels: Tensor) -> Metrics:
    """Return alignment and uniformity of what the loss would see of these rows.

    Of projections, not features: these spread over the whole sphere, while features behind a ReLU keep to one corner
    of it. Of held-out rows, since the loss itself tells of the training rows.
    """
    embeddings = projection.eval()(features)
    return {"alignment": alignment(embeddings, labels), "uniformity": uniformity(embeddings)}


def contrastive_weight(settings: FinetuneSettings, progress: float) -> float:
    """Return the weight of the contrastive term at `progress` 0 .. 1."""
    start, end = settings.contrastive_weight, settings.contrastive_weight_end
    return start + (end - start) * progress


def _make_mixup(settings: FinetuneSettings, classes: int) -> timm.data.Mixup | None:
    if max(settings.mixup, settings.cutmix) == 0:
        return None
    return timm.data.Mixup(
        mixup_alpha=settings.mixup,
        cutmix_alpha=settings.cutmix,
        label_smoothing=settings.label_smoothing,
        num_classes=classes,
    )
