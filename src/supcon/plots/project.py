"""Embeddings in two dimensions, by PCA or t-SNE."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Projection:
    """Points of some rows."""

    points: npt.NDArray[np.float64]  # [n, 2]
    rows: npt.NDArray[np.int64]  # which of the embeddings they are, [n], ascending


def project(
    embeddings: npt.NDArray[np.floating], method: Literal["pca", "tsne"], seed: int = 0, rows: int = 2000
) -> Projection:
    """Return at most `rows` of the embeddings [N, D], drawn by `seed`, in two dimensions.

    Embeddings are normalised first. `tsne` starts from PCA to 50 dimensions (van der Maaten & Hinton 2008); it takes
    some seconds for 2,000 rows. The same input gives the same points. Fewer than 3 rows: points at 0.
    """
    raise NotImplementedError
