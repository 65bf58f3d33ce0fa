"""All that is said of an embedding space, at once."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from supcon.metrics.geometry import alignment, distance_ratio, effective_rank, isotropy, uniformity
from supcon.metrics.knn import knn_macro_f1

Embeddings = npt.NDArray[np.floating]  # [rows, D]
Labels = npt.NDArray[np.int64]  # [rows]


@dataclass(frozen=True)
class EmbeddingQuality:
    """Of held-out rows; nan where they do not tell."""

    alignment: float  # mean squared distance of positives, lower is better (`geometry.alignment`)
    uniformity: float  # lower is more even (`geometry.uniformity`)
    isotropy: float  # 0 .. 1, the share of dimensions that are used alike (`geometry.isotropy`)
    effective_rank: float  # 1 .. D (`geometry.effective_rank`)
    distance_ratio: float  # within classes over between them, lower is better (`geometry.distance_ratio`)
    knn_macro_f1: float  # of the nearest training rows' vote (`knn.knn_macro_f1`)


def embedding_quality(
    train_embeddings: Embeddings,
    train_labels: Labels,
    held_out_embeddings: Embeddings,
    held_out_labels: Labels,
    classes: int,
) -> EmbeddingQuality:
    """Return the quality of embeddings [rows, D] with class numbers [rows].

    The geometry is that of the held-out rows, which the encoder never saw; training rows are the neighbours alone.
    """
    bank, rows = (torch.from_numpy(np.asarray(z, np.float32)) for z in (train_embeddings, held_out_embeddings))
    bank_labels, labels = (torch.from_numpy(np.asarray(y, np.int64)) for y in (train_labels, held_out_labels))
    return EmbeddingQuality(
        alignment=alignment(rows, labels),
        uniformity=uniformity(rows),
        isotropy=isotropy(rows),
        effective_rank=effective_rank(rows),
        distance_ratio=distance_ratio(rows, labels),
        knn_macro_f1=knn_macro_f1(bank, bank_labels, rows, labels, classes) if len(rows) else math.nan,
    )
