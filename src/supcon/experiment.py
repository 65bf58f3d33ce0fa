"""One run's world without torch: the competition, its split, its images, and the state of its stages."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.artifacts.files import digest, sha256_file
from supcon.artifacts.stage import StageRun
from supcon.competition.folds import read_folds
from supcon.competition.read import SAMPLE, Competition, read_competition
from supcon.config import Call
from supcon.errors import UserError
from supcon.images.cache import ImageCache, open_cache
from supcon.images.hashes import content_hashes, images_digest

Rows = npt.NDArray[np.int64]  # row numbers, or positions in the image cache

STAGE_FILES = {
    "pretrain": ("encoder.safetensors",),
    "finetune": ("classifier.safetensors",),
    "predict": ("oof.npz", "test.npz"),
    "tune": ("decision.json",),
    "ensemble": ("scores.json",),
}


@dataclass(frozen=True)
class Experiment:
    """What every stage after the split starts from."""

    call: Call
    competition: Competition
    split: pd.DataFrame  # id, label, group, fold; in the order of the training table

    @property
    def classes(self) -> list[str]:
        """Class names, sorted by code point; a class number is a place in this list."""
        return self.competition.classes

    @cached_property
    def labels(self) -> npt.NDArray[np.int64]:
        """Class numbers of the training rows."""
        number = {name: position for position, name in enumerate(self.classes)}
        return np.array([number[label] for label in self.split["label"]], dtype=np.int64)

    @cached_property
    def fold(self) -> npt.NDArray[np.int64]:
        """Fold numbers of the training rows."""
        return np.array(self.split["fold"], dtype=np.int64)

    @cached_property
    def groups(self) -> npt.NDArray[np.int64] | None:
        """Group numbers of the training rows, a lone row's its own; None where all rows are alone."""
        given = self.split["group"].to_numpy(dtype=str)
        alone = given == ""
        if alone.all():
            return None
        names = np.where(alone, np.char.add("row ", np.arange(len(given)).astype(str)), given)
        return np.unique(names, return_inverse=True)[1]

    @property
    def folds(self) -> list[int]:
        """The folds this call works on."""
        count = self.call.settings.data.folds
        beyond = [fold for fold in self.call.folds if not 0 <= fold < count]
        if beyond:
            raise UserError(f"--fold {beyond[0]}: the folds are 0 to {count - 1}")
        return self.call.folds or list(range(count))

    def rows_of(self, fold: int) -> Rows:
        """Return the row numbers of a fold's held-out rows."""
        return np.flatnonzero(self.fold == fold)

    @property
    def test_positions(self) -> Rows:
        """Positions of the test rows in the image cache; those of the training rows are their row numbers."""
        return np.arange(len(self.split), len(self.split) + len(self.competition.test))

    @cached_property
    def images_digest(self) -> str:
        """One hash of every image."""
        return images_digest(self.competition.paths, self._hashes)

    @cached_property
    def _training_digest(self) -> str:
        rows = len(self.split)
        return images_digest(self.competition.paths[:rows], self._hashes[:rows])

    @cached_property
    def _test_digest(self) -> str:
        return digest(self._hashes[len(self.split) :])  # in their order, by which views and batches are drawn

    @cached_property
    def _hashes(self) -> list[str]:
        return content_hashes(self.call.root / "cache", self.competition.folder, self.competition.paths)

    @cached_property
    def _weights_digest(self) -> str:
        return sha256_file(Path(self.call.settings.model.weights))

    def open_training_images(self) -> ImageCache:
        """Open (at first: decode) the images for training: training rows first, then test rows."""
        return self._open_images(self.call.settings.data.image_size)

    def open_prediction_images(self) -> ImageCache:
        """Open the same images at the size of prediction."""
        return self._open_images(self.prediction_side)

    @property
    def prediction_side(self) -> int:
        """Side of the images at prediction, pixels."""
        data = self.call.settings.data
        return data.test_size or data.image_size

    def _open_images(self, side: int) -> ImageCache:
        return open_cache(
            self.call.root / "cache",
            self.competition.folder,
            self.competition.paths,
            self.images_digest,
            side,
            self.call.settings.data.fit,
        )

    def stage(self, name: str, fold: int | None = None) -> StageRun:
        """Return a stage of this run with its inputs; `UserError` when a stage before it is not done."""
        training = name in ("pretrain", "finetune")
        inputs = {"folds/folds.csv": self._split_digest}
        inputs |= {"training images": self._training_digest} if training else {"images": self.images_digest}
        settings = self.call.settings
        if name == "pretrain" and settings.pretrain.use_test:
            inputs["test images"] = self._test_digest
        if training and settings.model.weights:
            inputs["--model.weights"] = self._weights_digest
        if name == "finetune" and settings.pretrain.epochs:
            inputs["pretrain"] = self.stage("pretrain", fold).require()
        if name == "predict":
            inputs["finetune"] = self.stage("finetune", fold).require()
        if name in ("tune", "ensemble"):
            for one in range(settings.data.folds):
                inputs[f"predict fold {one}"] = self.stage("predict", one).require()
        if name == "ensemble":
            inputs["tune"] = self.stage("tune").require()
            inputs[SAMPLE] = sha256_file(self.competition.folder / SAMPLE)
        return StageRun(self.call, name, fold, STAGE_FILES[name], inputs)

    @cached_property
    def _split_digest(self) -> str:
        return digest(self.split[["id", "label", "fold"]].to_numpy().tolist())


def load_experiment(call: Call) -> Experiment:
    """Read the host's files and the split. Raises `UserError` where they do not fit."""
    competition = read_competition(call.root / "input", call.settings.data)
    split = read_folds(call.root / "folds" / "folds.csv", competition, call.settings.data)
    return Experiment(call, competition, split)
