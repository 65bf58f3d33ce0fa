"""One fold's final model on any rows: logits of every view, and the embeddings of a sample of the rows."""

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
from supcon.training.model.classifier import classifier_head
from supcon.training.model.encoder import Encoder, load_weights
from supcon.training.model.folding import folded
from supcon.training.model.prototypes import Classifiers


class Predictor:
    """A fold's encoder with its classifiers, loaded from the fold's folder."""

    def __init__(self, experiment: Experiment, fold: int, folder: Path) -> None:
        """Load the model; the features of the training rows make its class means, where `predict.prototypes` asks."""
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
        encoder = folded(encoder.to(self._device), settings.data.image_size)
        self._take_training_rows(encoder)
        self._model = Classifiers(encoder, self._classifiers).to(self._device)
        self.views = prediction_views(settings.augment, settings.predict.views)
        self.images = experiment.open_prediction_images()

    def _take_training_rows(self, encoder: nn.Module) -> None:
        """Make the class means, and keep the features of some rows: out of the same forward pass where both are."""
        rows = self._data.train_rows
        kept = self._sample.draw(TRAINING, np.arange(self._data.labelled))  # pseudo-labelled rows are of other parts
        if self._settings.predict.prototypes:
            features = self._data.training_features(encoder)
            self._classifiers[PROTOTYPES] = self._data.class_means(features)
            features = features[torch.from_numpy(kept)]
        elif len(kept):
            features = self._data.training_features(encoder, kept)
        else:
            return
        self._sample.add(TRAINING, self._experiment.split.ids.iloc[rows[kept]], features)

    def predict(self, part: int, ids: pd.Series, positions: Rows, label: str) -> Predicted:
        """Return natural-prior log-odds [rows, views, classes] of images by their positions; an unreadable one's prior.

        Of a sample of these rows, called `ids` and of that `part`, the embeddings are kept. `label` names the bar.
        """
        readable = ~np.isin(positions, list(self.images.problems))
        kept = self._sample.draw(part, np.flatnonzero(readable))
        side, fit = self._experiment.prediction_side, self._settings.data.fit
        predicted, features = self.classify(FixedViews(self.images, positions, self.views, side, fit), label, kept)
        self._sample.add(part, ids.iloc[kept], features)
        if readable.all():
            return predicted
        unknown = self._data.unreadable_logits.numpy()
        unread = keep_likeliest(np.broadcast_to(unknown, (int((~readable).sum()), len(self.views), len(unknown))))
        return {
            name: scattered(len(readable), [(readable, logits[readable]), (~readable, unread)])
            for name, logits in predicted.items()
        }

    def classify(self, dataset: Dataset[Tensor], label: str, kept: Rows | None = None) -> tuple[Predicted, Tensor]:
        """Return natural-prior log-odds [rows, views, classes] of a dataset, and features of its rows `kept` [kept, D].

        The features are those of the first view, out of the same forward pass.
        """
        loader = fixed_loader(dataset, self._settings.predict.batch_size, worker_count(self._settings.machine.workers))
        wanted = torch.from_numpy(np.empty(0, np.int64) if kept is None else kept)
        precision = self._settings.train.precision
        batches, features = classify(
            self._model, loader, len(loader), self._device, precision, label, wanted, self._kept
        )
        return {name: joined([batch[name] for batch in batches]) for name in self._classifiers}, features

    def _kept(self, outputs: Tensor) -> Predicted:
        """Return what is kept of a batch's outputs [B, views, classifiers, classes]: natural-prior log-odds."""
        logits = dict(zip(self._classifiers, outputs.unbind(dim=2), strict=True))
        logits[HEAD] = logits[HEAD] + self._data.log_odds_shift
        return keep_likeliest_of({name: one.numpy() for name, one in logits.items()})

    def embeddings(self) -> Embeddings:
        """Return the embeddings of all that was kept."""
        return self._sample.embeddings(self._projection)
