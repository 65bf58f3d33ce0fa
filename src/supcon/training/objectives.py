"""What the two training stages minimise."""

import math
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.losses import contrastive_bounds, contrastive_loss
from supcon.losses.batch import count_positives
from supcon.losses.contrastive import FormOptions
from supcon.losses.distributed import Shares, gather
from supcon.metrics.embeddings import alignment, knn_macro_f1, uniformity
from supcon.metrics.metric import macro_f1
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings
from supcon.training import gradcache
from supcon.training.health import Metrics, StepMetrics
from supcon.training.key_queue import KeyQueue
from supcon.training.loop import Objective, Step
from supcon.training.mixing import Mixed, Mixer, take_rows
from supcon.training.ranks import is_first, rank, unwrap, world_size
from supcon.training.sampler import share_of

HeldOut = Callable[[nn.Module], tuple[Tensor, Tensor]]  # encoder -> features [Q, D], labels [Q] of monitored rows


class ContrastivePretraining(Objective):
    """The contrastive loss of a model with the parts `encoder` and `projection`.

    Labels from `classes` on belong to unlabelled images, each with a label of its own. These images take part in the
    loss; the share of valid anchors and the neighbours of the kNN score leave them out.
    """

    def __init__(
        self,
        settings: PretrainSettings,
        contrast: ContrastSettings,
        classes: int,
        held_out: HeldOut | None,
        queue: KeyQueue | None = None,
    ) -> None:
        """Take `held_out` to monitor the kNN score of rows that the fold never trains on, where there are such rows."""
        self._settings, self._contrast, self._classes, self._held_out = settings, contrast, classes, held_out
        self._queue = queue
        self._mixer = Mixer(settings.mixup, settings.cutmix)
        self._bank: list[tuple[Tensor, Tensor]] = []  # features and labels of the epoch, computed anyway: neighbours

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
            labelled = mixed.labels < self._classes
            rows = labelled.nonzero()[:, 0].to(features.device, non_blocking=True)
            self._bank.append((features.detach()[rows], mixed.labels[labelled]))
            embeddings = shares.gather(model["projection"](features).float())
            labelled = joint.labels < self._classes
            loss, bounds = _contrast(self._contrast, model, embeddings, joint, labelled, self._queue)
            metrics.update(bounds)
            return loss

        loss = gradcache.backward(model["encoder"], mixed.images, loss_of, chunks, step.autocast)
        if self._queue is not None:
            batch_order = shares.gather(_positions(shares.total, views.shape[1])[order]).argsort()
            joined = lambda rows: take_rows(shares.gather(rows), batch_order)  # noqa: E731
            self._queue.enqueue(model, take_rows(images, order), labels[order], chunks, step.autocast, joined)
        return loss, metrics

    def passes(self, images: int) -> float:
        """Return the cost of a batch: GradCache and the momentum network each add a forward pass."""
        chunks = gradcache.chunk_count([images], self._settings.micro_batch)
        return images * (3 + (chunks > 1) + (self._queue is not None)) / 3

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return the macro-F1 of held-out rows by their neighbours among the epoch's features, and their geometry."""
        bank, bank_labels = gather(*(torch.cat(part) for part in zip(*self._bank, strict=True)))
        self._bank.clear()
        if self._held_out is None or not is_first():
            return {}
        queries, labels = self._held_out(model["encoder"])
        queries = queries.to(bank.device)
        score = knn_macro_f1(bank, bank_labels.to(bank.device), queries, labels, self._classes)
        return {"knn_macro_f1": score, **_geometry(model["projection"], queries, labels.to(bank.device))}

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the key queue, where there is one."""
        return {} if self._queue is None else {"memory": self._queue.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the key queue from a checkpoint."""
        if self._queue is not None:
            self._queue.load_state_dict(state["memory"])


class Classification(Objective):
    """Cross-entropy of a model with the parts `encoder` and `classifier`, and `projection` for a contrastive term."""

    def __init__(
        self, settings: FinetuneSettings, contrast: ContrastSettings, prior: Tensor, held_out: HeldOut | None
    ) -> None:
        """Take the class shares `prior` [C] of the batches, and `held_out` to monitor held-out rows where there are."""
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
            labelled = torch.ones_like(joint.labels, dtype=torch.bool)
            embeddings = shares.gather(model["projection"](features).float())
            contrast, bounds = _contrast(self._contrast, model, embeddings, joint, labelled)
            metrics.update(cross_entropy=loss.detach(), contrastive=contrast.detach(), **bounds)
            return loss + weight * contrast

        return gradcache.backward(model["encoder"], mixed.images, loss_of, chunks, step.autocast), metrics

    def passes(self, images: int) -> float:
        """Return the cost of a batch: GradCache adds a forward pass; the features of a frozen encoder cost nothing."""
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


@torch.inference_mode()
def _macro_f1(classifier: nn.Module, features: Tensor, labels: Tensor, classes: int) -> float:
    predicted = classifier.eval()(features).float().argmax(dim=1)
    return macro_f1(labels.numpy(), predicted.cpu().numpy(), classes)


@torch.inference_mode()
def _geometry(projection: nn.Module, features: Tensor, labels: Tensor) -> Metrics:
    """Return alignment and uniformity of the embeddings of held-out rows; the loss itself measures the training rows.

    The embeddings are what the projection head makes of the features. Without a head they are the features themselves,
    which after a ReLU fill one corner of the sphere alone.
    """
    embeddings = projection.eval()(features)
    metrics = {"alignment": alignment(embeddings, labels), "uniformity": uniformity(embeddings)}
    return {name: value for name, value in metrics.items() if math.isfinite(value)}  # few rows may have no positives


def contrastive_weight(settings: FinetuneSettings, progress: float) -> float:
    """Return the weight of the contrastive term at `progress` 0 .. 1."""
    start, end = settings.contrastive_weight, settings.contrastive_weight_end
    return start + (end - start) * progress


def _order(images: int, chunks: int, seed: int) -> Tensor | slice:
    """Return the order in which images are encoded: shuffled where they are encoded in several chunks.

    A PK batch is sorted by class, so the batch norm statistics of a chunk of it would give the label away.
    """
    if chunks == 1:
        return slice(None)
    return torch.randperm(images, generator=torch.Generator().manual_seed(seed))


def _positions(images: int, views: int) -> Tensor:
    """Return the positions of this process's images in the whole batch of `images`, `views` of each row."""
    rows = torch.tensor(share_of(images // views, rank(), world_size()))
    return (rows[:, None] * views + torch.arange(views)).flatten()


def _contrast(
    settings: ContrastSettings,
    model: nn.ModuleDict,
    embeddings: Tensor,
    mixed: Mixed,
    labelled: Tensor,
    queue: KeyQueue | None = None,
) -> tuple[Tensor, Metrics]:
    """Return the contrastive loss of either stage, its bounds, and the share of valid anchors among `labelled` [N].

    `embeddings` [N, D], `labelled` and the labels in `mixed` are those of the whole batch, on every process.
    """
    options = FormOptions(
        form=settings.form,
        temperature=settings.temperature,
        epsilon=settings.epsilon,
        hardness=settings.hardness,
        normalize=settings.normalize,
    )
    column_labels: Tensor | None  # of the keys or prototypes, which are columns beside the embeddings
    if "prototypes" in model:
        loss = mixed.weigh(lambda labels: model["prototypes"](embeddings, labels))
        prototypes = cast(Tensor, unwrap(model["prototypes"]).prototypes)
        column_labels = torch.arange(len(prototypes))
    else:
        keys, column_labels = (None, None) if queue is None else (queue.keys, queue.labels)
        loss = mixed.weigh(
            lambda labels: contrastive_loss(embeddings, labels, memory=keys, memory_labels=column_labels, **options)
        )
    bounds = mixed.weigh(
        lambda labels: torch.tensor(contrastive_bounds(labels, memory_labels=column_labels, **options))
    )
    scale = settings.temperature if settings.scale_by_temperature else 1.0
    floor, collapse = (bounds * scale).tolist()
    valid = (count_positives(mixed.labels, column_labels)[labelled] > 0).float().mean().item()
    return loss * scale, {"floor": floor, "collapse": collapse, "valid": valid}
