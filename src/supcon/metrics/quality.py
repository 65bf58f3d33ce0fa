"""All measures of an embedding space at once."""

import math
from dataclasses import dataclass

import numpy as np
import torch

from supcon.arrays import Features, Labels
from supcon.metrics.geometry import alignment, distance_ratio, effective_rank, isotropy, uniformity
from supcon.metrics.knn import knn_macro_f1


@dataclass(frozen=True)
class EmbeddingQuality:
    """Measures of held-out rows; nan where they are not defined."""

    alignment: float  # mean squared distance of positives, lower is better (`geometry.alignment`)
    uniformity: float  # lower is more even (`geometry.uniformity`)
    isotropy: float  # 0 .. 1, the share of dimensions that are used alike (`geometry.isotropy`)
    effective_rank: float  # 1 .. D (`geometry.effective_rank`)
    distance_ratio: float  # within classes over between them, lower is better (`geometry.distance_ratio`)
    knn_macro_f1: float  # of the nearest training rows' vote (`knn.knn_macro_f1`)


def embedding_quality(
    train_embeddings: Features,
    train_labels: Labels,
    held_out_embeddings: Features,
    held_out_labels: Labels,
    classes: int,
) -> EmbeddingQuality:
    """Return the quality of embeddings [rows, D] with class numbers [rows].

    The geometry is that of the held-out rows, which the encoder never saw; training rows serve only as neighbours.
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
