"""Prediction by one fold's final model: logits of every view of any rows, and the embeddings of a sample of rows."""

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from supcon.arrays import Rows
from supcon.decision.merge import HEAD, PROTOTYPES, keep_likeliest_of
from supcon.images.augment.views import prediction_views
from supcon.metrics.top_k import joined, keep_likeliest, scattered
from supcon.run.experiment import Experiment
from supcon.run.predictions import TRAINING, Embeddings, Predicted
from supcon.training.data import FixedViews, fixed_loader, worker_count
from supcon.training.device import set_up_device
from supcon.training.embed import EmbeddingSample, trained_projection
from supcon.training.evaluate import classify
from supcon.training.fold import FoldData
from supcon.training.model.class_means import Classifiers
from supcon.training.model.classifier import classifier_head
from supcon.training.model.encoder import Encoder, load_weights
from supcon.training.model.fused_batch_norm import fuse_batch_norm


class Predictor:
    """A fold's encoder with its classifiers, loaded from the fold's folder."""

    def __init__(self, experiment: Experiment, fold: int, folder: Path) -> None:
        """Load the model; make its class means from the training rows where `predict.class_means` asks for them."""
        settings = experiment.call.settings
        self._experiment, self._settings = experiment, settings
        self._device = set_up_device(settings.machine)
        self._data = FoldData(experiment, fold, self._device)
        encoder = Encoder(
            settings.model, settings.data.image_size, load_weights=False, channels_last=settings.train.channels_last
        )
        classes, mode = len(experiment.split.classes), settings.finetune.mode
        classifier = classifier_head(encoder.width, classes, mode, settings.model.dropout)
        load_weights(folder / "classifier.safetensors", encoder=encoder, classifier=classifier)
        self._projection = trained_projection(settings, folder, encoder.width)
        self._sample = EmbeddingSample(settings)
        self._classifiers = nn.ModuleDict({HEAD: classifier})
        encoder = fuse_batch_norm(encoder.to(self._device), settings.data.image_size)
        self._take_training_rows(encoder)
        self._model = Classifiers(encoder, self._classifiers).to(self._device)
        self.views = prediction_views(settings.augment, settings.predict.views)
        self.images = experiment.open_prediction_images()

    def _take_training_rows(self, encoder: nn.Module) -> None:
        """Make the class means and keep the features of a sample of rows, both from the same forward pass."""
        rows = self._data.train_rows
        kept = self._sample.draw(TRAINING, np.arange(self._data.labelled))  # pseudo-labelled rows belong to other parts
        if self._settings.predict.class_means:
            features = self._data.training_features(encoder)
            self._classifiers[PROTOTYPES] = self._data.class_means(features)
            features = features[torch.from_numpy(kept)]
        elif len(kept):
            features = self._data.training_features(encoder, kept)
        else:
            return
        self._sample.add(TRAINING, self._experiment.split.ids.iloc[rows[kept]], features)

    def predict(self, part: int, ids: pd.Series, positions: Rows, label: str) -> Predicted:
        """Return natural-prior log-odds [rows, views, classes] of the images at `positions`.

        An unreadable image gets the log of the prior. The embeddings of a sample of the rows, which are called `ids`
        and belong to `part`, are kept. `label` names the progress bar.
        """
        readable = ~np.isin(positions, list(self.images.problems))
        kept = self._sample.draw(part, np.flatnonzero(readable))
        side, fit = self._experiment.prediction_side, self._settings.data.fit
        predicted, features = self.classify(FixedViews(self.images, positions, self.views, side, fit), label, kept)
        self._sample.add(part, ids.iloc[kept], features)
        if readable.all():
            return predicted
        unknown = self._data.unreadable_logits.numpy()
        unreadable = keep_likeliest(np.broadcast_to(unknown, (int((~readable).sum()), len(self.views), len(unknown))))
        return {
            name: scattered(len(readable), [(readable, logits[readable]), (~readable, unreadable)])
            for name, logits in predicted.items()
        }

    def classify(self, dataset: Dataset[Tensor], label: str, kept: Rows | None = None) -> tuple[Predicted, Tensor]:
        """Return natural-prior log-odds [rows, views, classes] of a dataset, and features of its rows `kept` [kept, D].

        The features are those of the first view, from the same forward pass.
        """
        loader = fixed_loader(dataset, self._settings.predict.batch_size, worker_count(self._settings.machine.workers))
        wanted = torch.from_numpy(np.empty(0, np.int64) if kept is None else kept)
        precision = self._settings.train.precision
        batches, features = classify(
            self._model, loader, len(loader), self._device, precision, label, wanted, self._log_odds
        )
        return {name: joined([batch[name] for batch in batches]) for name in self._classifiers}, features

    def _log_odds(self, outputs: Tensor) -> Predicted:
        """Return the natural-prior log-odds to keep of a batch's outputs [B, views, classifiers, classes]."""
        logits = dict(zip(self._classifiers, outputs.unbind(dim=2), strict=True))
        logits[HEAD] = logits[HEAD] + self._data.log_odds_shift
        return keep_likeliest_of({name: values.numpy() for name, values in logits.items()})

    def embeddings(self) -> Embeddings:
        """Return the embeddings of all rows kept so far."""
        return self._sample.embeddings(self._projection)
