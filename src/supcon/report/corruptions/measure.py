"""Predictions of damaged held-out rows by the models that never saw them: corruptions.npz of each fold."""

import time
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import Dataset

from supcon.arrays import Rows
from supcon.decision.merge import blend, head_and_class_means, merge_views
from supcon.images.cache import ImageCache
from supcon.images.geometry import Fit, fit_square
from supcon.randomness import seed_at
from supcon.report.corruptions.kinds import STATES, Corruptions
from supcon.report.corruptions.result import FOLD_FILE, corruption_stage
from supcon.run.experiment import Experiment
from supcon.storage.files import write_npz
from supcon.training.predictor import Predictor, without_extras


class DamagedRows(Dataset[Tensor]):
    """Every row in every state of damage, the states of a row one after the other, uint8 [1, side, side, 3] each."""

    def __init__(self, cache: ImageCache, rows: Rows, side: int, fit: Fit) -> None:
        self._cache, self._rows, self._side, self._fit = cache, rows, side, fit
        self._corruptions = Corruptions(side)

    def __len__(self) -> int:
        return len(self._rows) * len(STATES)

    def __getitems__(self, indices: Sequence[int]) -> Tensor:
        """Return a batch, [indices, 1, side, side, 3]."""
        return torch.from_numpy(np.stack([self._damaged(*divmod(index, len(STATES))) for index in indices]))

    def __getitem__(self, index: int) -> Tensor:
        """Return a batch of one."""
        return self.__getitems__([index])

    def _damaged(self, number: int, state: int) -> npt.NDArray[np.uint8]:
        row = int(self._rows[number])
        image = fit_square(self._cache[row], self._side, self._fit)
        return self._corruptions.damage(image, row, *STATES[state])[None]


def measure(experiment: Experiment, limit: int) -> None:
    """Predict at most `limit` rows of every fold that is not done: from the plain view, with predict's blend.

    Raises `UserError` as stages do.
    """
    settings = experiment.settings
    for fold in experiment.folds:
        stage = corruption_stage(experiment, fold, limit)
        if not stage.ready():
            continue
        started = time.time()
        predictor = Predictor.load(without_extras(experiment), fold, stage.folder, on_images=True)
        rows = sample_rows(experiment, fold, limit)
        dataset = DamagedRows(predictor.images, rows, experiment.prediction_side, settings.data.fit)
        predicted, _ = predictor.classify(dataset, stage.label)
        merged = merge_views(blend(predicted, head_and_class_means(settings.predict.class_mean_weight)), 1.0)
        labels = merged.argmax(axis=1).reshape(len(rows), len(STATES))
        ids = np.array(experiment.split.ids.iloc[rows].to_list(), dtype=str)
        write_npz(stage.folder / FOLD_FILE, {"ids": ids, "predicted": labels.astype(np.int32)})
        stage.finish(started)
        print(f"{stage.label}: {len(rows):,} rows in {len(STATES)} states, {time.time() - started:.0f} s", flush=True)


def sample_rows(experiment: Experiment, fold: int, limit: int) -> Rows:
    """Return at most `limit` of a fold's held-out rows, ascending; they are the same for every run on the split."""
    held_out = experiment.split.rows_of(fold)
    drawn = np.random.default_rng(seed_at("corruptions", fold)).permutation(held_out)[:limit]
    return np.sort(drawn)
