"""Prediction by one fold's final model: logits of every view of any rows, and the embeddings of a sample of rows."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from supcon.arrays import Rows
from supcon.decision.merge import CLASS_MEANS, HEAD, keep_likeliest_of
from supcon.images.augment.views import prediction_views
from supcon.metrics.top_k import joined, keep_likeliest, scattered
from supcon.randomness import seed_at
from supcon.run.done import intact
from supcon.run.experiment import Experiment
from supcon.run.predictions import HELD_OUT, TRAINING, Embeddings, Predicted
from supcon.settings.settings import Settings
from supcon.training.data import FixedViews
from supcon.training.device import forward_views, set_up_device
from supcon.training.fold import FoldData, evaluate
from supcon.training.loader import fixed_loader, worker_count
from supcon.training.log import bar
from supcon.training.model.classifier import Classifiers, load_classifier
from supcon.training.model.encoder import fuse_batch_norm
from supcon.training.model.heads import projection_head
from supcon.training.model.weights import load_weights

_LARGEST = float(np.finfo(np.float16).max)  # the files are of half precision


class Predictor:
    """A fold's encoder with its classifiers, loaded from the fold's folder."""

    def __init__(self, experiment: Experiment, fold: int, folder: Path) -> None:
        """Load the model; make its class means from the training rows where `predict.class_means` asks for them."""
        settings = experiment.settings
        self._experiment, self._settings = experiment, settings
        self._device = set_up_device(settings.machine)
        self._data = FoldData(experiment, fold, self._device)
        classes = len(experiment.split.classes)
        encoder, classifier = load_classifier(settings, classes, intact(folder / "classifier.safetensors"))
        self._projection = trained_projection(settings, folder, encoder.width)
        self._kept: list[tuple[pd.Series, int, Tensor]] = []  # ids, part and features of a sample of each part's rows
        self._classifiers = nn.ModuleDict({HEAD: classifier})
        encoder = fuse_batch_norm(encoder.to(self._device), settings.data.image_size)
        self._take_training_rows(encoder)
        self._model = Classifiers(encoder, self._classifiers).to(self._device)
        self.views = prediction_views(settings.augment, settings.predict.views)
        self.images = experiment.open_prediction_images()

    def _take_training_rows(self, encoder: nn.Module) -> None:
        """Make the class means and keep the features of a sample of rows, both from the same forward pass."""
        rows = self._data.train_rows
        kept = self._draw(TRAINING, np.arange(self._data.labelled))  # pseudo-labelled rows belong to other parts
        if self._settings.predict.class_means:
            features = self._data.training_features(encoder)
            self._classifiers[CLASS_MEANS] = self._data.class_means(features)
            features = features[torch.from_numpy(kept)]
        elif len(kept):
            features = self._data.training_features(encoder, kept)
        else:
            return
        self._kept.append((self._experiment.split.ids.iloc[rows[kept]], TRAINING, features))

    def _draw(self, part: int, rows: Rows) -> Rows:
        """Return at most `predict.embeddings` of the row numbers `rows` of a part, evenly drawn, ascending."""
        random = np.random.default_rng(seed_at(self._settings.train.seed, "embeddings", part))
        return rows[np.sort(random.permutation(len(rows))[: self._settings.predict.embeddings])]

    def predict(self, part: int, ids: pd.Series, positions: Rows, label: str) -> Predicted:
        """Return natural-prior log-odds [rows, views, classes] of the images at `positions`.

        An unreadable image gets the log of the prior. The embeddings of a sample of the rows, which are called `ids`
        and belong to `part`, are kept. `label` names the progress bar.
        """
        if len(positions) == 0:
            shape = (0, len(self.views), len(self._experiment.split.classes))
            return {name: keep_likeliest(np.zeros(shape, np.float32)) for name in self._classifiers}
        readable = ~np.isin(positions, list(self.images.problems))
        kept = self._draw(part, np.flatnonzero(readable))
        side, fit = self._experiment.prediction_side, self._settings.data.fit
        predicted, features = self.classify(FixedViews(self.images, positions, self.views, side, fit), label, kept)
        self._kept.append((ids.iloc[kept], part, features))
        if readable.all():
            return predicted
        unknown = self._data.unreadable_logits.numpy()
        unreadable = keep_likeliest(np.broadcast_to(unknown, (int((~readable).sum()), len(self.views), len(unknown))))
        return {
            name: scattered(len(readable), [(readable, logits[readable]), (~readable, unreadable)])
            for name, logits in predicted.items()
        }

    @torch.inference_mode()
    def classify(self, dataset: Dataset[Tensor], label: str, kept: Rows | None = None) -> tuple[Predicted, Tensor]:
        """Return natural-prior log-odds [rows, views, classes] of a dataset, and features of its rows `kept` [kept, D].

        The features are those of the first view, from the same forward pass.
        """
        loader = fixed_loader(dataset, self._settings.predict.batch_size, worker_count(self._settings.machine.workers))
        wanted = np.empty(0, np.int64) if kept is None else kept
        features, logits, first = [], [], 0
        for views in bar(loader, label):
            batch_features, outputs = forward_views(self._model, views, self._device, self._settings.train.precision)
            in_batch = wanted[(wanted >= first) & (wanted < first + len(views))]
            features.append(batch_features[in_batch - first, 0].clone())  # those of other rows are not held in memory
            logits.append(self._log_odds(outputs))
            first += len(views)
        return {name: joined([batch[name] for batch in logits]) for name in self._classifiers}, torch.cat(features)

    def _log_odds(self, outputs: Tensor) -> Predicted:
        """Return the natural-prior log-odds to keep of a batch's outputs [B, views, classifiers, classes]."""
        logits = dict(zip(self._classifiers, outputs.unbind(dim=2), strict=True))
        logits[HEAD] = logits[HEAD] + self._data.log_odds_shift
        return keep_likeliest_of({name: values.numpy() for name, values in logits.items()})

    @torch.inference_mode()
    def embeddings(self) -> Embeddings:
        """Return the features of all rows kept so far, and what the projection head makes of them."""
        ids, parts, tensors = zip(*self._kept, strict=True)
        of_rows = np.repeat(np.array(parts, dtype=np.int8), [len(tensor) for tensor in tensors])
        return _embeddings(pd.concat(ids), of_rows, torch.cat(tensors), self._projection)


@torch.inference_mode()
def embed(experiment: Experiment, folder: Path, other: Experiment, rows: Rows) -> Embeddings:
    """Return training rows of the competition `other`, in plain views, embedded by the final encoder in `folder`.

    The encoder is that of a fold of `experiment`, and `other` has its image sizes and fit. It was trained on none of
    the rows, so they count as HELD_OUT. Raises `UserError` where weights or images cannot be read.
    """
    settings, device = experiment.settings, set_up_device(experiment.settings.machine)
    encoder, _ = load_classifier(settings, len(experiment.split.classes), intact(folder / "classifier.safetensors"))
    projection = trained_projection(settings, folder, encoder.width)
    encoder = fuse_batch_norm(encoder.to(device), settings.data.image_size)
    plain, images = prediction_views(settings.augment, 1), other.open_prediction_images()
    views = FixedViews(images, rows, plain, experiment.prediction_side, settings.data.fit)
    loader = fixed_loader(views, settings.predict.batch_size, worker_count(settings.machine.workers))
    features = evaluate(encoder, loader, device, settings.train.precision, f"features {folder.name}")[:, 0]
    return _embeddings(other.split.ids.iloc[rows], np.full(len(rows), HELD_OUT, np.int8), features, projection)


def trained_projection(settings: Settings, folder: Path, width: int) -> nn.Module | None:
    """Return the projection head that was trained together with the final encoder in a fold's `folder`, or None.

    Fine-tuning with a contrastive term trains the head further. Without one, it changes the encoder in mode full, so
    that the head of pre-training no longer fits; in the modes linear and mlp the encoder is frozen and the head fits.
    """
    if settings.contrast.projection == "none":
        return None
    if settings.finetune.contrasts:
        name = "classifier.safetensors"
    elif settings.finetune.mode != "full" and settings.pretrain.epochs and settings.pretrain.contrasts:
        name = "encoder.safetensors"
    else:
        return None
    projection = projection_head(width, settings.contrast)
    load_weights(intact(folder / name), projection=projection)
    return projection


def _embeddings(
    ids: pd.Series, parts: npt.NDArray[np.int8], features: Tensor, projection: nn.Module | None
) -> Embeddings:
    projections = None if projection is None else _within_half(projection.eval()(features))
    return Embeddings(np.array(list(ids), dtype=str), parts, _within_half(features), projections)


def _within_half(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.clamp(-_LARGEST, _LARGEST).numpy()
    return array
