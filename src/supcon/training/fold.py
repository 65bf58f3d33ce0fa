"""One fold's rows, as the loaders, samplers and monitors that the training stages need.

Law 1 is kept here: all that a model is trained on comes from `train_rows` and `train_labels`. These may hold held-out
rows with the label that an earlier model predicted (a pseudo-label), never with their own label.

Rows with a pseudo-label are training rows: batches, the prior of the batches and the class means count them. The
natural prior, under which predictions are log-odds, does not: how often a class occurs in nature is estimated from true
labels, and not from the number of rows of which a model was sure.
"""

from collections.abc import Iterable, Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from supcon.arrays import Rows
from supcon.errors import UserError
from supcon.images.augment.batch import BatchViews, canvas_side
from supcon.images.augment.recipes import ranges_of
from supcon.images.augment.single import RandomView
from supcon.images.augment.views import prediction_views
from supcon.randomness import seed_at
from supcon.run.experiment import Experiment
from supcon.run.pseudo import read_pseudo
from supcon.settings import fold_name
from supcon.storage.processes import on_this_machine
from supcon.training import ranks
from supcon.training.data import Batch, Canvases, FixedViews, TrainingViews, ViewsOnDevice
from supcon.training.features import DrawnFeatures, Features, FixedFeatures, evaluate, open_features
from supcon.training.growth import StageName
from supcon.training.loader import fixed_loader, training_loader, worker_count
from supcon.training.model.adapter import FrozenEncoder
from supcon.training.model.classifier import ClassMeans, Neighbours
from supcon.training.sampler import BatchSampler, Key, NaturalSampler, PKSampler, WithUnlabelled

_SMALLEST_MEASURED = 32  # images of a batch whose statistics are measured, at least
MONITOR_ROWS = 400  # held-out rows that are monitored after each epoch, at most: too few for a score


class FoldData:
    """The data of one fold of an experiment."""

    def __init__(self, experiment: Experiment, fold: int, device: torch.device) -> None:
        self.fold = fold
        self._settings, split = experiment.settings, experiment.split
        self.device = device
        self._workers = worker_count(self._settings.machine.workers, on_this_machine()[1])
        self._classes = len(split.classes)
        self._experiment = experiment
        self._images = experiment.open_training_images()
        self.prediction_images = experiment.open_prediction_images()
        rows = experiment.training_rows_of(fold)
        self._true_labels = split.labels[rows]
        self._pseudo_rows, pseudo_labels = read_pseudo(experiment, fold)
        self.labelled = len(rows)  # of the training rows: they come first
        self.train_rows = np.concatenate([rows, self._pseudo_rows])  # positions in the image cache
        self.train_labels = np.concatenate([self._true_labels, pseudo_labels])
        held_out = split.rows_of(fold)
        shuffled = np.random.default_rng(0).permutation(held_out)
        self._monitor_rows = np.sort(shuffled[:MONITOR_ROWS])
        self._monitor_labels = split.labels[self._monitor_rows]
        self.has_held_out_rows = len(self._monitor_rows) > 0  # a model that is trained on all rows has none

    @property
    def natural_prior(self) -> Tensor:
        """Class shares of the training rows with a true label, [classes]."""
        return self._shares(self._true_labels)

    @property
    def unreadable_logits(self) -> Tensor:
        """Logits of an unreadable image, of which nothing is known: the log of the class shares, [classes]."""
        return self.natural_prior.log().clamp(min=-20)

    def batch_prior(self, stage: StageName) -> Tensor:
        """Return the class shares of the images that a stage's batches hold, [classes]; none is 0."""
        if stage == "pretrain" or self._in_pk_batches:
            shares = self.pk_sampler(stage).class_shares
            prior = torch.tensor(np.pad(shares, (0, self._classes - len(shares))), dtype=torch.float32)
        else:
            prior = self._shares(self.train_labels)
        return prior.clamp(min=1e-6)  # a class without training rows, which our folds do not make, has none

    @property
    def _in_pk_batches(self) -> bool:
        return self._settings.finetune.mode == "full" and self._settings.finetune.batches == "pk"

    def _shares(self, labels: Rows) -> Tensor:
        counts = np.bincount(labels, minlength=self._classes)
        return torch.tensor(counts / counts.sum(), dtype=torch.float32)

    def logit_adjustment(self, stage: StageName) -> Tensor:
        """Return what training adds to the logits in a stage's cross-entropy, [classes].

        In `finetune` it is `logit_adjustment` x log prior of its batches, and the sum learns the log-odds in these. In
        `pretrain` the prior of the PK batches takes the place of that of finetune's, so that the classifier's logits
        mean the same in both stages.
        """
        own, final = self.batch_prior(stage).log(), self.batch_prior("finetune").log()
        return own + (self._settings.finetune.logit_adjustment - 1) * final

    @cached_property
    def log_odds_shift(self) -> Tensor:
        """What is added to the classifier's logits to make them natural-prior log-odds, [classes].

        With what training adds they are log-odds under the prior of finetune's batches. Adding log natural prior - log
        of that prior moves these to the natural prior.
        """
        natural = self.natural_prior.clamp(min=1e-6).log()
        return self.logit_adjustment("finetune") + natural - self.batch_prior("finetune").log()

    @property
    def fitted_head_shift(self) -> Tensor:
        """What makes log-odds under the shares of the training rows the classifier's logits, [classes]."""
        own, final = self._shares(self.train_labels).clamp(min=1e-6).log(), self.batch_prior("finetune").log()
        return final - own - self.logit_adjustment("finetune")

    def steps(self, stage: StageName) -> tuple[int, int]:
        """Return how many steps of the learning rate's schedule come before a stage, and how many it has in all."""
        own = self._own_steps(stage)
        if not self._settings.shares_schedule:
            return 0, own
        if stage == "pretrain":
            return 0, own + self._own_steps("finetune")
        before = self._own_steps("pretrain")
        return before, before + own

    def _own_steps(self, stage: StageName) -> int:
        sampler = self.contrastive_sampler() if stage == "pretrain" else self.classifier_sampler()
        epochs: int = getattr(self._settings, stage).epochs
        return epochs * len(sampler)

    def pk_sampler(self, stage: StageName) -> PKSampler:
        """Return P x K batches of the training rows. Raises `UserError` where an anchor would have no positives."""
        options = self._settings.batches
        classes = min(options.classes_per_batch, len(np.unique(self.train_labels)))
        images = options.size // classes if options.size else options.images_per_class
        options_of_stage = getattr(self._settings, stage)
        needed = 2 if options_of_stage.contrasts and options_of_stage.views == 1 else 1  # images that give a positive
        if options.size and images < needed:
            raise UserError(
                f"--batches.size {options.size} is less than {needed} images of each of the {classes}"
                f" classes in a batch: raise it to {needed * classes} or lower --batches.classes_per_batch"
            )
        return PKSampler(self.train_labels, classes, images, self._seed(stage), balance=options.balance)

    def contrastive_sampler(self) -> BatchSampler:
        """Return the pre-training stage's batches, with the unlabelled rows where `pretrain.use_test` asks for them."""
        sampler: BatchSampler = self.pk_sampler("pretrain")
        if self._settings.pretrain.use_test:
            unlabelled, seed = len(self._unlabelled_rows), self._seed("pretrain test images")
            sampler = WithUnlabelled(sampler, len(self.train_rows), unlabelled, seed)
        return sampler.take_share(ranks.rank(), ranks.world_size())

    @cached_property
    def _unlabelled_rows(self) -> Rows:
        """The test rows that have an image and no pseudo-label."""
        return np.setdiff1d(self._experiment.readable_test_positions(self._images), self._pseudo_rows)

    def classifier_sampler(self) -> BatchSampler:
        """Return the batches that `finetune.batches` asks for."""
        options = self._settings.finetune
        sampler: BatchSampler = NaturalSampler(len(self.train_rows), options.batch_size, self._seed("finetune"))
        if self._in_pk_batches:
            sampler = self.pk_sampler("finetune")
        return sampler.take_share(ranks.rank(), ranks.world_size())

    def contrastive_loader(self, sampler: BatchSampler, sides: Sequence[int]) -> Iterable[Batch]:
        """Return batches of random views of the training rows and of the unlabelled ones, of each epoch's `sides`.

        Unlabelled rows are numbered after the training rows, and each is a class of its own, numbered after the
        classes. Only a `contrastive_sampler` with `pretrain.use_test` draws them.
        """
        rows = np.concatenate([self.train_rows, self._unlabelled_rows])
        labels = np.concatenate([self.train_labels, self._classes + np.arange(len(self._unlabelled_rows))])
        return self._random_views(rows, labels, sampler, "pretrain", sides)

    def classifier_loader(self, sampler: BatchSampler, sides: Sequence[int]) -> Iterable[Batch]:
        """Return random views of the training rows, of each epoch's `sides`."""
        return self._random_views(self.train_rows, self.train_labels, sampler, "finetune", sides)

    def _random_views(
        self, positions: Rows, labels: Rows, sampler: BatchSampler, stage: StageName, sides: Sequence[int]
    ) -> Iterable[Batch]:
        augment, fit, options = self._settings.augment, self._settings.data.fit, getattr(self._settings, stage)
        rows, seed = (self._images, positions, labels), self._seed(f"{stage} views")
        if self.features:
            drawn = DrawnFeatures(self.features.random, positions, labels, options.views, seed)
            return training_loader(drawn, sampler, 0)
        if not augment.on_device:
            transforms = {side: RandomView(augment, side, fit, options.strength) for side in sides}
            views = TrainingViews(*rows, [transforms[side] for side in sides], options.views, seed)
            return training_loader(views, sampler, self._workers)
        ranges = ranges_of(augment, options.strength)
        loader = training_loader(Canvases(*rows, ranges, sides, fit, options.views, seed), sampler, self._workers)
        makers = {canvas_side(side, ranges): BatchViews(ranges, side, self.device) for side in sides}
        return ViewsOnDevice(loader, lambda images, recipe: makers[images.shape[1]](images, recipe))

    def feature_loader(self, sampler: BatchSampler, encoder: nn.Module) -> DataLoader[Batch]:
        """Return a frozen encoder's features of the training rows, computed once, as batches [B, 1, width]."""
        dataset = _FeatureRows(self.training_features(encoder), torch.from_numpy(self.train_labels))
        return training_loader(dataset, sampler, 0)

    def class_means(self, features: Tensor) -> ClassMeans:
        """Return the classifier by class means of `features` [rows, width], those of `training_features`."""
        labels, temperature = torch.from_numpy(self.train_labels), self._settings.predict.class_mean_temperature
        return ClassMeans(features, labels, self.natural_prior, temperature)

    def neighbours(self, features: Tensor) -> Neighbours:
        """Return the classifier by neighbours among `features` [rows, views, width], those of `view_features`."""
        options = self._settings.predict
        labels = torch.from_numpy(self.train_labels).repeat_interleave(features.shape[1])
        arguments = options.neighbours, options.neighbour_temperature
        return Neighbours(features.flatten(0, 1), labels, self.natural_prior, *arguments)

    def training_features(self, encoder: nn.Module, kept: Rows | None = None) -> Tensor:
        """Return the features of the training rows' plain views, [rows, width], or of those numbered `kept` alone."""
        return self.view_features(encoder, 1, kept)[:, 0]

    def view_features(self, encoder: nn.Module, views: int, kept: Rows | None = None) -> Tensor:
        """Return the features of the training rows' test-time views, at most so many, [rows, views, width]."""
        rows = self.train_rows if kept is None else self.train_rows[kept]
        own_rows = rows[ranks.rank() :: ranks.world_size()]
        loader = fixed_loader(self.fixed_views(own_rows, views), self._settings.predict.batch_size, self._workers)
        precision, label = self._settings.train.precision, f"features fold {fold_name(self.fold)}"
        return ranks.interleave(evaluate(self._on_views(encoder), loader, self.device, precision, label))

    def measuring_loader(self, most: int) -> DataLoader[Tensor]:
        """Return plain views of at most `most` training rows in random order, in whole batches, [B, 1, ...].

        Batches of rows in their own order might hold single classes.
        """
        rows = np.random.default_rng(seed_at("measured rows", self.fold)).permutation(self.train_rows)[:most]
        batch = min(len(rows), max(self._settings.predict.batch_size, _SMALLEST_MEASURED))
        return fixed_loader(self.fixed_views(rows[: len(rows) // batch * batch], 1), batch, self._workers)

    def held_out_features(self, encoder: nn.Module) -> tuple[Tensor, Tensor]:
        """Return features [Q, width] and labels [Q] of the monitored held-out rows."""
        batches = self._monitor_views.split(self._settings.predict.batch_size)
        precision = self._settings.train.precision
        features = evaluate(self._on_views(encoder), batches, self.device, precision, "held-out rows")
        return features[:, 0], torch.from_numpy(self._monitor_labels)

    @cached_property
    def _monitor_views(self) -> Tensor:
        """Plain views of the monitored rows, kept in memory: they are few, and used after every epoch."""
        return self.fixed_views(self._monitor_rows, 1).__getitems__(range(len(self._monitor_rows)))

    def fixed_views(self, positions: Rows, views: int) -> FixedViews | FixedFeatures:
        """Return test-time views of the images at `positions`, at most so many; of a frozen encoder their features."""
        named = prediction_views(self._settings.augment, views)
        if self.features:
            return FixedFeatures(self.features.plain, positions, len(named))
        side, fit = self._experiment.prediction_side, self._settings.data.fit
        return FixedViews(self.prediction_images, positions, named, side, fit)

    @cached_property
    def features(self) -> Features | None:
        """The features of a frozen encoder, which then take the place of views; computed at first."""
        return open_features(self._experiment, self.device) if self._settings.model.frozen else None

    def _on_views(self, encoder: nn.Module) -> nn.Module:
        """Return the part of the encoder that `fixed_views` go through."""
        return encoder.adapter if self.features and isinstance(encoder, FrozenEncoder) else encoder

    def _seed(self, purpose: str) -> int:
        return seed_at(self._settings.train.seed, purpose, self.fold)


class _FeatureRows(Dataset[Batch]):
    """Features as batches of one view."""

    def __init__(self, features: Tensor, labels: Tensor) -> None:
        self._features, self._labels = features, labels

    def __getitems__(self, keys: list[Key]) -> Batch:
        rows = torch.tensor([row for row, _, _ in keys])
        return self._features[rows].unsqueeze(1), self._labels[rows]
