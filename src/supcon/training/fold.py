"""One fold's rows, as the loaders, samplers and monitors that the training stages need.

Law 1 lives here: everything that trains is made from `train_rows` and `train_labels`; of held-out rows only an earlier
model's guess of their labels may be among these, never the labels themselves.

Rows with a pseudo-label are training rows: batches, their prior and the class means count them. Only the natural
prior, under which the stored logits are log-odds, is without them: the shares that classes have in nature are told by
the true labels, and not by how many rows of a class a model was sure of.
"""

from collections.abc import Iterable
from functools import cached_property
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from supcon.arrays import Rows
from supcon.errors import UserError
from supcon.images.augment.batch import BatchViews, canvas_side
from supcon.images.augment.ranges import ranges_of
from supcon.images.augment.single import RandomView
from supcon.images.augment.views import prediction_views
from supcon.randomness import address
from supcon.run.experiment import Experiment
from supcon.run.pseudo import read_pseudo
from supcon.settings import fold_name
from supcon.training import ranks
from supcon.training.data import (
    Batch,
    ByEpoch,
    CanvasBatch,
    Canvases,
    FixedViews,
    TrainingViews,
    ViewsOnDevice,
    fixed_loader,
    growing_sides,
    loader_options,
    training_loader,
    worker_count,
)
from supcon.training.evaluate import evaluate
from supcon.training.job import on_this_machine
from supcon.training.model.prototypes import ClassMeans
from supcon.training.sampler import BatchSampler, Key, NaturalSampler, PKSampler, WithUnlabelled

MONITOR_ROWS = 400  # held-out rows watched after each epoch, at most: a glance, not a score


class FoldData:
    """The data of one fold of an experiment."""

    def __init__(self, experiment: Experiment, fold: int, device: torch.device) -> None:
        self.fold = fold
        self._settings, split = experiment.call.settings, experiment.split
        self._device = device
        self._workers = worker_count(self._settings.machine.workers, on_this_machine()[1])
        self._classes = len(split.classes)
        self._experiment = experiment
        self._images = experiment.open_training_images()
        self._plain_images = experiment.open_prediction_images()
        rows = split.training_rows_of(fold)
        rows = _few_of_each(rows, split.labels, self._settings.data.shots, self._seed("shots"))
        self._true_labels = split.labels[rows]
        self._pseudo_rows, pseudo_labels = read_pseudo(experiment, fold)
        self.train_rows = np.concatenate([rows, self._pseudo_rows])  # positions in the image cache
        self.train_labels = np.concatenate([self._true_labels, pseudo_labels])
        held_out = split.rows_of(fold)
        shuffled = np.random.default_rng(0).permutation(held_out)
        self._watched = np.sort(shuffled[:MONITOR_ROWS])
        self._watched_labels = split.labels[self._watched]

    @property
    def labelled(self) -> int:
        """How many of `train_rows`, the first ones, have a true label."""
        return len(self._true_labels)

    @property
    def watches(self) -> bool:
        """Whether there are held-out rows to watch: none where the model is of all rows."""
        return len(self._watched) > 0

    @property
    def natural_prior(self) -> Tensor:
        """Class shares of the training rows with a true label, [classes]."""
        return self._shares(self._true_labels)

    @property
    def unreadable_logits(self) -> Tensor:
        """All that is known of an unreadable image: log of the class shares, [classes]."""
        return self.natural_prior.log().clamp(min=-20)

    @cached_property
    def sampling_prior(self) -> Tensor:
        """Class shares of the batches that the classifier trains on, [classes]."""
        if self._settings.finetune.mode == "full" and self._settings.finetune.batches == "pk":
            shares = self.pk_sampler("finetune").class_shares
            return torch.tensor(np.pad(shares, (0, self._classes - len(shares))), dtype=torch.float32)
        return self._shares(self.train_labels)

    def _shares(self, labels: Rows) -> Tensor:
        counts = np.bincount(labels, minlength=self._classes)
        return torch.tensor(counts / counts.sum(), dtype=torch.float32)

    @property
    def log_odds_shift(self) -> Tensor:
        """What turns the classifier's logits into natural-prior log-odds, [classes].

        The head was trained on logits + strength x log of the sampling prior, so that sum is the log-odds under the
        sampling prior; the rest moves them to the natural one. A class without training rows (never with our folds)
        would be -inf: its share is kept above 0.
        """
        sampled, natural = self.sampling_prior.clamp(min=1e-6).log(), self.natural_prior.clamp(min=1e-6).log()
        return self._settings.finetune.logit_adjustment * sampled + natural - sampled

    def pk_sampler(self, stage: str) -> PKSampler:
        """Return P x K batches of the training rows; raise `UserError` when K leaves an anchor without positives."""
        options = self._settings.pretrain
        classes = min(options.classes_per_batch, len(np.unique(self.train_labels)))
        images = options.batch_size // classes if options.batch_size else options.images_per_class
        needed = self._images_needed(stage)
        if options.batch_size and images < needed:
            raise UserError(
                f"--pretrain.batch_size {options.batch_size} is less than {needed} images of each of the {classes}"
                f" classes in a batch: raise it to {needed * classes} or lower --pretrain.classes_per_batch"
            )
        return PKSampler(self.train_labels, classes, images, self._seed(stage), balance=options.balance)

    def _images_needed(self, stage: str) -> int:
        """Return the smallest K that gives every anchor of a stage a positive."""
        finetune = self._settings.finetune
        contrasts = stage == "pretrain" or finetune.contrasts
        views = self._settings.pretrain.views if stage == "pretrain" else finetune.views
        return 2 if contrasts and views == 1 else 1

    def contrastive_sampler(self) -> BatchSampler:
        """Return the pre-training stage's batches, with the unlabelled rows where `pretrain.use_test` asks for them."""
        sampler = self.pk_sampler("pretrain")
        if not self._settings.pretrain.use_test:
            return _own_share(sampler)
        unlabelled, seed = len(self._unlabelled_rows), self._seed("pretrain test images")
        return _own_share(WithUnlabelled(sampler, len(self.train_rows), unlabelled, seed))

    @cached_property
    def _unlabelled_rows(self) -> Rows:
        """The test rows that have an image and no pseudo-label."""
        return np.setdiff1d(self._experiment.readable_test_positions(self._images), self._pseudo_rows)

    def classifier_sampler(self) -> BatchSampler:
        """Return the batches that `finetune.batches` asks for."""
        options = self._settings.finetune
        if options.batches == "pk" and options.mode == "full":
            return _own_share(self.pk_sampler("finetune"))
        return _own_share(NaturalSampler(len(self.train_rows), options.batch_size, self._seed("finetune")))

    def contrastive_loader(self, sampler: BatchSampler) -> Iterable[Batch]:
        """Return random views of the training rows, then of the unlabelled ones, as classes numbered above the others.

        Only a `contrastive_sampler` with `pretrain.use_test` draws the unlabelled rows.
        """
        rows = np.concatenate([self.train_rows, self._unlabelled_rows])
        labels = np.concatenate([self.train_labels, self._classes + np.arange(len(self._unlabelled_rows))])
        return self._random_views(rows, labels, sampler, "pretrain")

    def classifier_loader(self, sampler: BatchSampler) -> Iterable[Batch]:
        """Return random views of the training rows."""
        return self._random_views(self.train_rows, self.train_labels, sampler, "finetune")

    def _random_views(
        self, positions: Rows, labels: Rows, sampler: BatchSampler, stage: Literal["pretrain", "finetune"]
    ) -> Iterable[Batch]:
        augment, fit, options = self._settings.augment, self._settings.data.fit, getattr(self._settings, stage)
        rows, seed = (self._images, positions, labels), self._seed(f"{stage} views")
        sides = growing_sides(self._settings.train.first_size, self._settings.data.image_size, options.epochs)
        if not augment.on_device:
            transforms = {side: RandomView(augment, side, fit, options.strength) for side in sides}
            views = [TrainingViews(*rows, transforms[side], options.views, seed) for side in sides]
            return training_loader(ByEpoch[Batch](views), sampler, self._workers)
        ranges = ranges_of(augment, options.strength)
        canvases = [Canvases(*rows, ranges, side, fit, options.views, seed) for side in sides]
        loader = training_loader(ByEpoch[CanvasBatch](canvases), sampler, self._workers)
        makers = {canvas_side(side, ranges): BatchViews(ranges, side, self._device) for side in sides}
        return ViewsOnDevice(loader, lambda images, recipe: makers[images.shape[1]](images, recipe))

    def feature_loader(self, sampler: BatchSampler, encoder: nn.Module) -> DataLoader[Batch]:
        """Return a frozen encoder's features of the training rows, computed once, as batches [B, 1, width]."""
        dataset = _FeatureRows(self.training_features(encoder), torch.from_numpy(self.train_labels))
        return DataLoader(dataset, batch_sampler=sampler, **loader_options(0))

    def class_means(self, features: Tensor) -> ClassMeans:
        """Return the classifier that the `training_features` [rows, width] make."""
        labels, temperature = torch.from_numpy(self.train_labels), self._settings.predict.prototype_temperature
        return ClassMeans(features, labels, self.natural_prior, temperature)

    def training_features(self, encoder: nn.Module, kept: Rows | None = None) -> Tensor:
        """Return the features of the training rows' plain views, [rows, width], or of those numbered `kept` alone."""
        rows = self.train_rows if kept is None else self.train_rows[kept]
        own = rows[ranks.rank() :: ranks.count()]
        loader = fixed_loader(self._plain(own), self._settings.predict.batch_size, self._workers)
        precision, label = self._settings.train.precision, f"features fold {fold_name(self.fold)}"
        return ranks.interleave(evaluate(encoder, loader, len(loader), self._device, precision, label)[:, 0])

    def held_out_features(self, encoder: nn.Module) -> tuple[Tensor, Tensor]:
        """Return features [Q, width] and labels [Q] of the watched held-out rows."""
        batches = self._watched_views.split(self._settings.predict.batch_size)
        precision = self._settings.train.precision
        features = evaluate(encoder, batches, len(batches), self._device, precision, "held-out rows")
        return features[:, 0], torch.from_numpy(self._watched_labels)

    @cached_property
    def _watched_views(self) -> Tensor:
        """The watched rows' plain views, kept: they are few, and asked for after every epoch."""
        return self._plain(self._watched).__getitems__(range(len(self._watched)))

    def _plain(self, rows: Rows) -> FixedViews:
        plain = prediction_views(self._settings.augment, 1)
        side, fit = self._experiment.prediction_side, self._settings.data.fit
        return FixedViews(self._plain_images, rows, plain, side, fit)

    def _seed(self, purpose: str) -> int:
        return address(self._settings.train.seed, purpose, self.fold)


def _own_share(sampler: BatchSampler) -> BatchSampler:
    """Let a sampler show this process's share of its batches."""
    try:
        sampler.take_share(ranks.rank(), ranks.count())
    except ValueError as error:
        raise UserError(f"{error}: make the batch larger, or lower --nproc") from None
    return sampler


def _few_of_each(rows: Rows, labels: npt.NDArray[np.int64], shots: int, seed: int) -> Rows:
    """Return `shots` random rows of each class, ascending; all rows for 0."""
    if shots == 0:
        return rows
    shuffled = np.random.default_rng(seed).permutation(rows)
    kept = [shuffled[labels[shuffled] == label][:shots] for label in np.unique(labels[rows])]
    return np.sort(np.concatenate(kept))


class _FeatureRows(Dataset[Batch]):
    """Features as batches of one view."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self._features, self._labels = features, labels

    def __getitems__(self, keys: list[Key]) -> Batch:
        rows = torch.tensor([row for row, _, _ in keys])
        return self._features[rows].unsqueeze(1), self._labels[rows]

    def __getitem__(self, key: Key) -> Batch:
        return self.__getitems__([key])
