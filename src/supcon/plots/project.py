"""Embeddings in two dimensions, by PCA or t-SNE."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from supcon.arrays import Features, Floats, Rows

_ALIKE = 1e-9  # in every dimension: rows that differ less are one point
_DIMENSIONS = 50  # that t-SNE starts from
# 2,000 rows take 3 seconds of one core; with scikit-learn's defaults (30, 1,000, 0.5) 11, for the same clusters
_PERPLEXITY, _ITERATIONS, _ANGLE = 20.0, 500, 0.8


@dataclass(frozen=True)
class Projection:
    """Rows as points of the plane."""

    points: Floats  # [n, 2]
    rows: Rows  # [n], which of the embeddings they are, ascending


def project(embeddings: Features, method: Literal["pca", "tsne"], seed: int = 0, rows: int = 2000) -> Projection:
    """Return at most `rows` of the embeddings [N, D], drawn by `seed`, in two dimensions.

    Embeddings are normalised first. `tsne` starts from PCA to 50 dimensions (van der Maaten & Hinton 2008); it takes
    some seconds for 2,000 rows. The same input gives the same points. With fewer than 3 rows, or if all are alike, all
    points are at 0.
    """
    from sklearn.decomposition import PCA  # half a second to import
    from sklearn.manifold import TSNE
    from sklearn.preprocessing import normalize

    drawn = np.sort(np.random.default_rng(seed).permutation(len(embeddings))[:rows])
    unit = normalize(embeddings[drawn].astype(np.float64)) if len(drawn) else embeddings
    if len(drawn) < 3 or np.ptp(unit, axis=0).max() < _ALIKE:
        return Projection(np.zeros((len(drawn), 2)), drawn)
    largest = min(_DIMENSIONS if method == "tsne" else 2, *unit.shape)
    points = PCA(largest, random_state=seed).fit_transform(unit)
    if points.shape[1] == 1:  # of one dimension
        points = np.hstack([points, np.zeros_like(points)])
    if method == "tsne":
        perplexity = min(_PERPLEXITY, (len(points) - 1) / 3)
        points = TSNE(
            perplexity=perplexity, max_iter=_ITERATIONS, angle=_ANGLE, random_state=seed, n_jobs=1
        ).fit_transform(points)
    return Projection(points.astype(np.float64), drawn)
