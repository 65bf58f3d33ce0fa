"""Damaged held-out rows, predicted by the models that never saw them: corruptions.npz of each fold."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from supcon.artifacts.files import write_npz
from supcon.artifacts.stage import StageRun
from supcon.corruptions.kinds import VIEWS, Corruptions
from supcon.corruptions.result import FOLD_FILE, corruption_stage
from supcon.data import fixed_loader, worker_count
from supcon.engine.device import set_up_device
from supcon.engine.evaluate import evaluate
from supcon.engine.fold import FoldData
from supcon.experiment import Experiment
from supcon.images.cache import ImageCache
from supcon.images.geometry import Fit, fit_square
from supcon.model.classifier import classifier_head
from supcon.model.encoder import Encoder, load_weights
from supcon.randomness import address


class DamagedRows(Dataset[Tensor]):
    """Every corruption of rows as views, uint8 [rows, VIEWS, side, side, 3]."""

    def __init__(self, cache: ImageCache, rows: npt.NDArray[np.int64], side: int, fit: Fit) -> None:
        self._cache, self._rows, self._side, self._fit = cache, rows, side, fit
        self._corruptions = Corruptions(side)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitems__(self, places: Sequence[int]) -> Tensor:
        """Return the views of some rows."""
        return torch.from_numpy(np.stack([self._views(int(self._rows[place])) for place in places]))

    def __getitem__(self, place: int) -> Tensor:
        """Return the views of one row."""
        return self.__getitems__([place])

    def _views(self, row: int) -> npt.NDArray[np.uint8]:
        return self._corruptions.all(fit_square(self._cache[row], self._side, self._fit), row)


def measure(experiment: Experiment, limit: int) -> None:
    """Predict at most `limit` rows of every fold, folds that are done left out. Raises `UserError` as stages do."""
    for fold in experiment.folds:
        stage = corruption_stage(experiment, fold, limit)
        if stage.ready():
            measure_fold(experiment, stage, fold, limit)


def measure_fold(experiment: Experiment, stage: StageRun, fold: int, limit: int) -> None:
    """Predict one fold's rows by its head, from the plain view."""
    started = time.time()
    settings = experiment.call.settings
    device = set_up_device(settings.machine)
    encoder = Encoder(
        settings.model, settings.data.image_size, load_weights=False, channels_last=settings.train.channels_last
    )
    classifier = classifier_head(encoder.width, len(experiment.classes), settings.finetune.mode, settings.model.dropout)
    load_weights(stage.folder / "classifier.safetensors", encoder=encoder, classifier=classifier)
    model = nn.Sequential(encoder, classifier).to(device)

    rows = sample_rows(experiment, fold, limit)
    images = experiment.open_prediction_images()
    dataset = DamagedRows(images, rows, experiment.prediction_side, settings.data.fit)
    batch = max(1, settings.predict.batch_size // VIEWS)
    loader = fixed_loader(dataset, batch, worker_count(settings.machine.workers))
    outputs = evaluate(model, loader, len(loader), device, settings.train.precision, stage.label)
    predicted = (outputs + FoldData(experiment, fold, device).log_odds_shift).argmax(dim=2).numpy()
    ids = np.array(experiment.split["id"].iloc[rows].to_list(), dtype=str)
    write_npz(stage.folder / FOLD_FILE, {"ids": ids, "predicted": predicted.astype(np.int32)})
    stage.finish(started)
    print(f"{stage.label}: {len(rows):,} rows in {VIEWS} states, {time.time() - started:.0f} s", flush=True)


def sample_rows(experiment: Experiment, fold: int, limit: int) -> npt.NDArray[np.int64]:
    """Return at most `limit` of a fold's held-out rows, ascending: the same ones for every run on the split."""
    held_out = experiment.rows_of(fold)
    drawn = np.random.default_rng(address("corruptions", fold)).permutation(held_out)[:limit]
    return np.sort(drawn)
