"""The embeddings that prediction keeps: features of a sample of rows, and their projections."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch import Tensor, nn

from supcon.arrays import Rows
from supcon.randomness import seed_at
from supcon.run.predictions import Embeddings
from supcon.settings.settings import Settings
from supcon.training.model.encoder import load_weights
from supcon.training.model.heads import projection_head

_LARGEST = float(np.finfo(np.float16).max)  # the files are of half precision


class EmbeddingSample:
    """Features of a sample of each part's rows, gathered part by part."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._ids: list[str] = []
        self._parts: list[int] = []
        self._features: list[Tensor] = []

    def draw(self, part: int, rows: Rows) -> Rows:
        """Return at most `predict.embeddings` of the row numbers `rows` of a part, evenly drawn, ascending."""
        random = np.random.default_rng(seed_at(self._settings.train.seed, "embeddings", part))
        drawn = random.permutation(len(rows))[: self._settings.predict.embeddings]
        return rows[np.sort(drawn)]

    def add(self, part: int, ids: pd.Series, features: Tensor) -> None:
        """Take the `features` [rows, width] of a part's rows, called `ids`."""
        self._ids += list(ids)
        self._parts += [part] * len(ids)
        self._features.append(features)

    @torch.inference_mode()
    def embeddings(self, projection: nn.Module | None) -> Embeddings:
        """Return all features taken, and what `projection` makes of them."""
        features = torch.cat(self._features)
        projections = None if projection is None else _within_half(projection.eval()(features))
        ids, parts = np.array(self._ids, dtype=str), np.array(self._parts, dtype=np.int8)
        return Embeddings(ids, parts, _within_half(features), projections)


def trained_projection(settings: Settings, folder: Path, width: int) -> nn.Module | None:
    """Return the projection head that was trained together with the final encoder in a fold's `folder`, or None.

    Fine-tuning with a contrastive term trains the head further. Without one, it changes the encoder in mode full, so
    that the head of pre-training no longer fits; in the modes linear and mlp the encoder is frozen and the head fits.
    """
    if settings.contrast.projection == "none":
        return None
    if settings.finetune.contrasts:
        name = "classifier.safetensors"
    elif settings.finetune.mode != "full" and settings.pretrain.epochs:
        name = "encoder.safetensors"
    else:
        return None
    projection = projection_head(width, settings.contrast)
    load_weights(folder / name, projection=projection)
    return projection


def _within_half(values: Tensor) -> npt.NDArray[np.float32]:
    array: npt.NDArray[np.float32] = values.clamp(-_LARGEST, _LARGEST).numpy()
    return array
