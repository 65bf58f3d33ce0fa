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
from supcon.metrics.counts import macro_f1
from supcon.metrics.embeddings import alignment, knn_macro_f1, uniformity
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings
from supcon.training import gradcache
from supcon.training.health import Metrics, StepMetrics
from supcon.training.key_queue import KeyQueue
from supcon.training.loop import Objective, Step
from supcon.training.mixing import Mixed, Mixer, take_rows
from supcon.training.ranks import is_first, rank, unwrap, world_size
from supcon.training.sampler import share_of

IGNORED = -100  # the label of an image that cross-entropy leaves out
HeldOut = Callable[[nn.Module], tuple[Tensor, Tensor]]  # encoder -> features [Q, D], labels [Q] of monitored rows


class StageObjective(Objective):
    """The weighted sum of cross-entropy and the contrastive loss, with the weights and the images of either stage.

    The model has the parts `encoder`; `classifier` for cross-entropy; `projection`, and `prototypes` where the settings
    ask for them, for contrast. Labels from the number of classes on belong to unlabelled images, each with a label of
    its own: these take part in contrast alone, and the share of valid anchors and the kNN score leave them out.
    """

    def __init__(
        self,
        stage: PretrainSettings | FinetuneSettings,
        contrast: ContrastSettings,
        adjustment: Tensor,
        held_out: HeldOut | None,
        queue: KeyQueue | None = None,
        *,
        label_smoothing: float = 0.0,
    ) -> None:
        """Take what cross-entropy adds to the logits, `adjustment` [C], and what monitors rows that are never learned.

        With `PretrainSettings` the neighbours of the `held_out` rows are monitored too.
        """
        self._stage, self._contrast, self._smoothing = stage, contrast, label_smoothing
        self._frozen = isinstance(stage, FinetuneSettings) and stage.mode != "full"
        self._adjustment, self._classes = adjustment, len(adjustment)
        self._held_out, self._queue = held_out, queue
        self._mixer = Mixer(stage.mixup, stage.cutmix)
        # features and labels of the epoch, computed anyway: neighbours of held-out rows
        self._bank: list[tuple[Tensor, Tensor]] | None = [] if isinstance(stage, PretrainSettings) else None

    def backward(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, StepMetrics]:
        """Add the gradient of the loss over all views of the batch."""
        images, labels = views.flatten(0, 1), labels.repeat_interleave(views.shape[1])
        shares = Shares(len(images))
        chunks = gradcache.chunk_count(shares.counts, self._stage.micro_batch)
        order = _order(len(images), chunks, step.seed)
        mixed = self._mixer(images, labels).take(order)
        joint = mixed.joint(shares)
        to_cross_entropy, to_contrast = weights = self._stage.weights(step.progress)
        metrics: StepMetrics = {}

        def loss_of(features: Tensor) -> Tensor:
            self._remember(features, mixed.labels)
            loss, terms = torch.zeros((), device=features.device), dict[str, Tensor]()
            if to_cross_entropy > 0:
                logits = model["classifier"](features).float() + self._adjustment
                terms["cross_entropy"] = self._cross_entropy(logits, mixed, joint, len(shares.counts))
                loss = loss + to_cross_entropy * terms["cross_entropy"]
            if to_contrast > 0:
                embeddings = shares.gather(model["projection"](features).float())
                labelled = joint.labels < self._classes
                terms["contrastive"], bounds = _contrast(
                    self._contrast, model, embeddings, joint, labelled, self._queue
                )
                loss = loss + to_contrast * terms["contrastive"]
                metrics.update(bounds)
            if weights not in ((1, 0), (0, 1)):  # else the loss itself is the one term
                metrics.update({name: term.detach() for name, term in terms.items()})
            return loss

        loss = gradcache.backward(model["encoder"], mixed.images, loss_of, chunks, step.autocast, step.scaled)
        if self._queue is not None:
            batch_order = shares.gather(_positions(shares.total, views.shape[1])[order]).argsort()
            joined = lambda rows: take_rows(shares.gather(rows), batch_order)  # noqa: E731
            self._queue.enqueue(model, take_rows(images, order), labels[order], chunks, step.autocast, joined)
        return loss, metrics

    def _remember(self, features: Tensor, labels: Tensor) -> None:
        if self._bank is not None:
            labelled = labels < self._classes
            rows = labelled.nonzero()[:, 0].to(features.device, non_blocking=True)
            self._bank.append((features.detach()[rows], labels[labelled]))

    def _cross_entropy(self, logits: Tensor, mixed: Mixed, joint: Mixed, processes: int) -> Tensor:
        """Return the cross-entropy of this process's labelled images, mixed labels weighed.

        The mean over processes, which the backward pass takes, is the mean over the labelled images of the whole batch.
        """
        count = max(1, int((joint.labels < self._classes).sum())) / processes

        def loss_of(labels: Tensor) -> Tensor:
            targets = labels.masked_fill(labels >= self._classes, IGNORED).to(logits.device, non_blocking=True)
            options: dict[str, Any] = {"ignore_index": IGNORED, "label_smoothing": self._smoothing}
            return F.cross_entropy(logits, targets, reduction="sum", **options) / count

        return mixed.weigh(loss_of)

    def passes(self, images: int) -> float:
        """Return the cost of a batch: GradCache and the momentum network each add a forward pass.

        The features of a frozen encoder cost nothing.
        """
        if self._frozen:
            return 0.0
        chunks = gradcache.chunk_count([images], self._stage.micro_batch)
        return images * (3 + (chunks > 1) + (self._queue is not None)) / 3

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        """Return what held-out rows say, where there are any: nothing else is measured that costs time.

        Their macro-F1 by the classifier, and in pre-training by their neighbours among the epoch's features; with a
        contrastive loss their geometry too.
        """
        bank, bank_labels = self._take_bank()
        if self._held_out is None or not is_first():
            return {}
        features, labels = self._held_out(model["encoder"])
        features = features.to(self._adjustment.device)
        metrics: Metrics = {}
        if self._bank is not None:
            metrics["knn_macro_f1"] = knn_macro_f1(bank, bank_labels, features, labels, self._classes)
        if "classifier" in model:
            metrics["held_out_macro_f1"] = _macro_f1(model["classifier"], features, labels, self._classes)
        if self._stage.contrasts:
            metrics |= _geometry(model["projection"], features, labels.to(features.device))
        return metrics

    def _take_bank(self) -> tuple[Tensor, Tensor]:
        """Return the features and labels of all processes' epoch, and forget them."""
        if self._bank is None:
            return torch.empty(0, 0), torch.empty(0)
        bank, labels = gather(*(torch.cat(part) for part in zip(*self._bank, strict=True)))
        self._bank.clear()
        return bank, labels.to(bank.device)

    def state_dict(self) -> dict[str, Any]:
        """Return the state of the key queue, where there is one."""
        return {} if self._queue is None else {"memory": self._queue.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the key queue from a checkpoint."""
        if self._queue is not None:
            self._queue.load_state_dict(state["memory"])


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
    """Return the contrastive loss of a batch, its bounds, and the share of valid anchors among `labelled` [N].

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
