"""What the two training stages minimise."""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.losses import contrastive_bounds, contrastive_loss
from supcon.losses.batch import count_positives
from supcon.losses.distributed import Shares, gather
from supcon.metrics.f1 import macro_f1
from supcon.metrics.geometry import alignment, uniformity
from supcon.metrics.knn import knn_macro_f1
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings
from supcon.training import gradcache
from supcon.training.key_queue import KeyQueue
from supcon.training.loop import Step
from supcon.training.meter import Metrics, StepMetrics
from supcon.training.mixing import Mixed, Mixer, taken
from supcon.training.ranks import is_first, rank, unwrap, world_size
from supcon.training.sampler import share_of

HeldOut = Callable[[nn.Module], tuple[Tensor, Tensor]]  # encoder -> features [Q, D] and labels [Q] of held-out rows


class ContrastivePretraining:
    """The contrastive loss of a model with the parts `encoder` and `projection`.

    Labels from `classes` on are those of unlabelled images, each its own: they contrast, but nothing else counts them.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        contrast: ContrastSettings,
        classes: int,
        held_out: HeldOut | None,
        memory: KeyQueue | None = None,
    ) -> None:
        """Take `held_out` to watch the kNN score of rows that the fold never trains on, where there are such rows."""
        self._settings, self._contrast, self._classes, self._held_out = settings, contrast, classes, held_out
        self._memory = memory
        self._mixer = Mixer(settings.mixup, settings.cutmix)
        self._bank: list[tuple[Tensor, Tensor]] = []  # the epoch's features: a free bank for the neighbours

    def backward(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, StepMetrics]:
        """Add the gradient of the loss over all views of the batch."""
        images, labels = views.flatten(0, 1), labels.repeat_interleave(views.shape[1])
        shares = Shares(len(images))
        chunks = gradcache.chunk_count(shares.counts, self._settings.micro_batch)
        order = _order(len(images), chunks, step.seed)
        mixed = self._mixer(images, labels).take(order)
        joint = mixed.joint(shares)
        metrics: StepMetrics = {}

        def loss_of(features: Tensor) -> Tensor:
            known = mixed.labels < self._classes
            rows = known.nonzero()[:, 0].to(features.device, non_blocking=True)
            self._bank.append((features.detach()[rows], mixed.labels[known]))
            embeddings = shares.gather(model["projection"](features).float())
            known = joint.labels < self._classes
            loss, found = _contrast(self._contrast, model, embeddings, joint, known, self._memory)
            metrics.update(found)
            return loss

        loss = gradcache.backward(model["encoder"], mixed.images, loss_of, chunks, step.autocast)
        if self._memory is not None:
            places = shares.gather(_places(shares.total, views.shape[1])[order]).argsort()
            joined = lambda rows: taken(shares.gather(rows), places)  # noqa: E731
            self._memory.enqueue(model, taken(images, order), labels[order], chunks, step.autocast, joined)
        return loss, metrics

    def passes(self, images: int) -> float:
        """Return what a batch costs: GradCache and the momentum encoder each add a forward pass."""
        chunks = gradcache.chunk_count([images], self._settings.micro_batch)
        return images * (3 + (chunks > 1) + (self._memory is not None)) / 3

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return the kNN macro-F1 of held-out rows among the epoch's training features, and their geometry."""
        bank, bank_labels = gather(*(torch.cat(part) for part in zip(*self._bank, strict=True)))
        self._bank.clear()
        if self._held_out is None or not is_first():
            return {}
        queries, labels = self._held_out(model["encoder"])
        queries = queries.to(bank.device)
        score = knn_macro_f1(bank, bank_labels.to(bank.device), queries, labels, self._classes)
        return {"knn_macro_f1": score, **_geometry(model["projection"], queries, labels.to(bank.device))}

    def state_dict(self) -> dict[str, Any]:
        """Return the memory's state."""
        return {} if self._memory is None else {"memory": self._memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on with the memory of a checkpoint."""
        if self._memory is not None:
            self._memory.load_state_dict(state["memory"])


class Classification:
    """Cross-entropy of a model with the parts `encoder` and `classifier`, and `projection` for a contrastive term."""

    def __init__(
        self,
        settings: FinetuneSettings,
        contrast: ContrastSettings,
        prior: Tensor,
        held_out: HeldOut | None,
    ) -> None:
        """Take the class shares `prior` [C] that batches are drawn with, and `held_out` to watch such rows, if any."""
        self._settings, self._contrast, self._held_out = settings, contrast, held_out
        self._classes = len(prior)
        self._adjustment = settings.logit_adjustment * prior.log()
        self._mixer = Mixer(settings.mixup, settings.cutmix)

    def backward(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, StepMetrics]:
        """Add the gradient of cross-entropy plus the weighted contrastive loss over all views of the batch."""
        images, labels = views.flatten(0, 1), labels.repeat_interleave(views.shape[1])
        shares = Shares(len(images))
        chunks = gradcache.chunk_count(shares.counts, self._settings.micro_batch)
        mixed = self._mixer(images, labels).take(_order(len(images), chunks, step.seed))
        weight = contrastive_weight(self._settings, step.progress)
        joint = mixed.joint(shares) if weight else mixed
        metrics: StepMetrics = {}

        def loss_of(features: Tensor) -> Tensor:
            logits = model["classifier"](features).float() + self._adjustment
            smoothing = self._settings.label_smoothing
            loss = mixed.weigh(
                lambda labels: F.cross_entropy(
                    logits, labels.to(logits.device, non_blocking=True), label_smoothing=smoothing
                )
            )
            loss = shares.weight * loss
            if weight == 0:
                return loss
            known = torch.ones_like(joint.labels, dtype=torch.bool)
            embeddings = shares.gather(model["projection"](features).float())
            contrast, found = _contrast(self._contrast, model, embeddings, joint, known)
            metrics.update(cross_entropy=loss.detach(), contrastive=contrast.detach(), **found)
            return loss + weight * contrast

        return gradcache.backward(model["encoder"], mixed.images, loss_of, chunks, step.autocast), metrics

    def passes(self, images: int) -> float:
        """Return what a batch costs: GradCache adds a forward pass; a frozen encoder's features cost nothing more."""
        if self._settings.mode != "full":
            return 0.0
        return images * (3 + (gradcache.chunk_count([images], self._settings.micro_batch) > 1)) / 3

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return the macro-F1 of held-out rows, where there are any; with a contrastive term their geometry too."""
        if self._held_out is None or not is_first():
            return {}
        features, labels = self._held_out(model["encoder"])
        features = features.to(self._adjustment.device)
        metrics = {"held_out_macro_f1": _macro_f1(model["classifier"], features, labels, self._classes)}
        if self._settings.contrasts:
            metrics |= _geometry(model["projection"], features, labels.to(features.device))
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return nothing: all state is the model's."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Need nothing."""


@torch.inference_mode()
def _macro_f1(classifier: nn.Module, features: Tensor, labels: Tensor, classes: int) -> float:
    predicted = classifier.eval()(features).float().argmax(dim=1)
    return macro_f1(labels.numpy(), predicted.cpu().numpy(), classes)


@torch.inference_mode()
def _geometry(projection: nn.Module, features: Tensor, labels: Tensor) -> Metrics:
    """Return alignment and uniformity of what the loss would see of these rows.

    Of what the projection head makes of the features (with `none`: of the features themselves, which behind a ReLU keep
    to one corner of the sphere). Of held-out rows, since the loss itself tells of the training rows.
    """
    embeddings = projection.eval()(features)
    metrics = {"alignment": alignment(embeddings, labels), "uniformity": uniformity(embeddings)}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}  # few rows may hold no positives


def contrastive_weight(settings: FinetuneSettings, progress: float) -> float:
    """Return the weight of the contrastive term at `progress` 0 .. 1."""
    start, end = settings.contrastive_weight, settings.contrastive_weight_end
    return start + (end - start) * progress


def _order(images: int, chunks: int, seed: int) -> Tensor | slice:
    """Return the order in which images are encoded: shuffled when they will be cut.

    A PK batch is sorted by class: the batch statistics of a chunk of it would tell the label.
    """
    if chunks == 1:
        return slice(None)
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed))


def _places(images: int, views: int) -> Tensor:
    """Return where this process's images are in the whole batch of `images`, `views` of each row."""
    rows = torch.tensor(share_of(images // views, rank(), world_size()))
    return (rows[:, None] * views + torch.arange(views)).flatten()


def _contrast(
    settings: ContrastSettings,
    model: nn.ModuleDict,
    embeddings: Tensor,
    mixed: Mixed,
    known: Tensor,
    memory: KeyQueue | None = None,
) -> tuple[Tensor, Metrics]:
    """Return the contrastive loss of both stages with its bounds, and the share of valid anchors among `known` [N].

    `embeddings` [N, D], the labels in `mixed` and `known` are those of the whole batch, on every process.
    """
    options: dict[str, Any] = {
        "form": settings.form,
        "temperature": settings.temperature,
        "epsilon": settings.epsilon,
        "hardness": settings.hardness,
    }
    further: Tensor | None
    if "prototypes" in model:
        loss = mixed.weigh(lambda labels: model["prototypes"](embeddings, labels))
        prototypes = cast(Tensor, unwrap(model["prototypes"]).prototypes)
        further = torch.arange(len(prototypes))
    else:
        keys, further = (None, None) if memory is None else (memory.keys, memory.labels)
        loss = mixed.weigh(
            lambda labels: contrastive_loss(embeddings, labels, memory=keys, memory_labels=further, **options)
        )
    bounds = mixed.weigh(lambda labels: torch.tensor(contrastive_bounds(labels, memory_labels=further, **options)))
    scale = settings.temperature if settings.scale_by_temperature else 1.0
    floor, collapse = (bounds * scale).tolist()
    valid = (count_positives(mixed.labels, further)[known] > 0).float().mean().item()
    return loss * scale, {"floor": floor, "collapse": collapse, "valid": valid}
