"""Prediction by one fold's final model: logits of every view of any rows, and the embeddings of a sample of rows."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from supcon.arrays import Rows
from supcon.decision.merge import CLASS_MEANS, HEAD, NEIGHBOURS, keep_likeliest_of
from supcon.images.augment.views import prediction_views
from supcon.metrics.top_k import joined, keep_likeliest, scattered
from supcon.randomness import seed_at
from supcon.run.done import intact
from supcon.run.experiment import Experiment
from supcon.run.predictions import HELD_OUT, TRAINING, Embeddings, Predicted
from supcon.settings.settings import Settings
from supcon.training.data import FixedViews
from supcon.training.device import forward_views, set_up_device
from supcon.training.features import Features, evaluate
from supcon.training.fold import FoldData
from supcon.training.loader import fixed_loader, worker_count
from supcon.training.log import bar
from supcon.training.model.adapter import Adapter, FrozenEncoder
from supcon.training.model.classifier import Classifiers, load_adapter, load_classifier
from supcon.training.model.encoder import Encoder, fuse_batch_norm
from supcon.training.model.heads import projection_head
from supcon.training.model.weights import has_part, load_weights

_LARGEST = float(np.finfo(np.float16).max)  # the files are of half precision


@dataclass(frozen=True)
class Model:
    """A fold's final model; of a frozen encoder, whose features are kept, the adapter in its place."""

    encoder: Encoder | FrozenEncoder | Adapter
    classifier: nn.Module
    projection: nn.Module | None  # that was trained together with the encoder as it is; None without one


class Predictor:
    """A fold's encoder with its classifiers."""

    def __init__(self, experiment: Experiment, data: FoldData, model: Model) -> None:
        """Take a model, and make what predicts beside its head from the training rows, as `predict` asks for it."""
        settings, encoder = experiment.settings, model.encoder.to(data.device)
        self._experiment, self._settings, self._data = experiment, settings, data
        self._device, self._projection, self.images = data.device, model.projection, data.prediction_images
        self._kept: list[tuple[pd.Series, int, Tensor]] = []  # ids, part and features of a sample of each part's rows
        self._classifiers = nn.ModuleDict({HEAD: model.classifier})
        if not isinstance(encoder, Adapter):
            encoder = fuse_batch_norm(encoder, settings.data.image_size)
        self._take_training_rows(encoder)
        self._model = Classifiers(encoder, self._classifiers).to(self._device)
        self.views = prediction_views(settings.augment, settings.predict.views)

    @classmethod
    def load(cls, experiment: Experiment, fold: int, folder: Path, *, on_images: bool = False) -> Self:
        """Return the predictor of the final model in a fold's `folder`. Raises `UserError` as `load_model` does.

        `on_images` lets a frozen encoder classify views of images, not only its kept features.
        """
        data = FoldData(experiment, fold, set_up_device(experiment.settings.machine))
        return cls(experiment, data, load_model(experiment, folder, None if on_images else data.features))

    def _take_training_rows(self, encoder: nn.Module) -> None:
        """Make what predicts beside the head and keep the features of a sample of rows, from the same forward pass."""
        rows = self._data.train_rows
        kept = self._draw(TRAINING, np.arange(self._data.labelled))  # pseudo-labelled rows belong to other parts
        options = self._settings.predict
        if options.class_means or options.neighbours:
            of_views = self._data.view_features(encoder, options.views if options.neighbours else 1)
            if options.class_means:
                self._classifiers[CLASS_MEANS] = self._data.class_means(of_views[:, 0])
            if options.neighbours:
                self._classifiers[NEIGHBOURS] = self._data.neighbours(of_views)
            features = of_views[torch.from_numpy(kept), 0]
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
        predicted, features = self.classify(self._data.fixed_views(positions, len(self.views)), label, kept)
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
    model = load_model(experiment, folder)
    encoder = fuse_batch_norm(model.encoder.to(device), settings.data.image_size)
    plain, images = prediction_views(settings.augment, 1), other.open_prediction_images()
    views = FixedViews(images, rows, plain, experiment.prediction_side, settings.data.fit)
    loader = fixed_loader(views, settings.predict.batch_size, worker_count(settings.machine.workers))
    features = evaluate(encoder, loader, device, settings.train.precision, f"features {folder.name}")[:, 0]
    return _embeddings(other.split.ids.iloc[rows], np.full(len(rows), HELD_OUT, np.int8), features, model.projection)


def without_extras(experiment: Experiment) -> Experiment:
    """Leave out what takes a pass over the training rows: all that predicts but the head and what is blended with it,
    and the embeddings.
    """
    request, predict = experiment.request, experiment.settings.predict
    predict = replace(predict, embeddings=0, class_means=predict.class_mean_weight > 0, neighbours=0)
    return replace(experiment, request=replace(request, settings=replace(request.settings, predict=predict)))


def load_model(experiment: Experiment, folder: Path, features: Features | None = None) -> Model:
    """Return the final model in a fold's folder; with the `features` of a frozen encoder the adapter, without them all.

    Raises `UserError` where a file is damaged or of another network.
    """
    settings, classes = experiment.settings, len(experiment.split.classes)
    file = intact(folder / "classifier.safetensors")
    encoder: Encoder | FrozenEncoder | Adapter
    if features:
        encoder, classifier = load_adapter(settings, classes, file, features.width)
    else:
        encoder, classifier = load_classifier(settings, classes, file)
    return Model(encoder, classifier, trained_projection(settings, folder, encoder.width))


def trained_projection(settings: Settings, folder: Path, width: int) -> nn.Module | None:
    """Return the projection head that was trained together with the final encoder in a fold's `folder`, or None.

    Fine-tuning with a contrastive term trains the head further. Without one, it changes the encoder in mode full, so
    that the head of pre-training no longer fits; in the modes linear and mlp the encoder is frozen and the head fits.
    Averaged weights have one where all the runs' files have.
    """
    file = folder / "classifier.safetensors"
    if settings.contrast.projection == "none":
        return None
    if settings.average.runs:
        if not has_part(intact(file), "projection"):
            return None
    elif not settings.finetune.contrasts:
        if settings.finetune.mode == "full" or not settings.pretrain.epochs or not settings.pretrain.contrasts:
            return None
        file = folder / "encoder.safetensors"
    projection = projection_head(width, settings.contrast)
    load_weights(intact(file), projection=projection)
    return projection


def _embeddings(
    ids: pd.Series, parts: npt.NDArray[np.int8], features: Tensor, projection: nn.Module | None
) -> Embeddings:
    projections = None if projection is None else _within_half(projection.eval()(features))
    return Embeddings(np.array(list(ids), dtype=str), parts, _within_half(features), projections)


def _within_half(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.clamp(-_LARGEST, _LARGEST).numpy()
    return array
