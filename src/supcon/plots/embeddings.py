"""Embeddings in two dimensions, by PCA or t-SNE, and their map."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from supcon.arrays import Features, Floats, Labels, RowMask, Rows
from supcon.plots.look import COLOURS, GREY, INK, label, legend, new_figure, panels

MOST = 20  # classes that can be told apart: 7 colours in 3 shapes
_SHAPES, _REST = "o^s", "#bdbdbd"
_AREA = 24_000  # points^2, divided among all marks
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
        tsne = TSNE(perplexity=perplexity, max_iter=_ITERATIONS, angle=_ANGLE, random_state=seed, n_jobs=1)
        points = tsne.fit_transform(points)
    return Projection(points.astype(np.float64), drawn)


def embedding_map(
    points: Features,
    labels: Labels,
    held_out: RowMask,
    classes: Sequence[str],
    title: str = "",
    shown: Sequence[int] | None = None,
) -> Figure:
    """Draw points [n, 2] by class: training rows as small faint dots, held-out rows (`held_out` [n]) as marks.

    `labels` [n] are indices into `classes`; -1 for rows without a label (test rows), drawn grey. Up to 20 classes have
    a colour and a shape each. Of more, 19 have: the first of `shown` (such as the most confused ones), or without it
    the largest; the others are drawn as "other".
    """
    chosen = _chosen(labels, len(classes), shown)
    figure = new_figure(4.3, title, layout="compressed")
    axes = panels(figure)[0, 0]
    axes.grid(False)
    axes.spines[:].set_visible(False)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_aspect("equal")
    axes.margins(0.03)
    size = float(np.clip(_AREA / max(len(points), 1), 8, 30))
    marks = [(colour, shape) for shape in _SHAPES for colour in COLOURS]
    groups = [(classes[number], labels == number, *mark) for number, mark in zip(chosen, marks, strict=False)]
    others = (labels >= 0) & ~np.isin(labels, chosen)
    if others.any():
        groups.insert(0, ("other", others, _REST, "o"))
    if (labels < 0).any():
        groups.insert(0, ("no label", labels < 0, GREY, "x"))
    for _, rows, colour, _ in groups:
        axes.scatter(*points[rows & ~held_out].T, s=size / 4, c=colour, alpha=0.35, linewidths=0)
    handles = {}
    for name, rows, colour, shape in groups:
        edge = {} if shape == "x" else {"edgecolors": INK}
        axes.scatter(*points[rows & held_out].T, s=size, c=colour, marker=shape, linewidths=0.4, **edge)
        edge_colour = colour if shape == "x" else INK
        handles[name] = Line2D(
            [], [], linestyle="", marker=shape, markersize=6, color=colour, markeredgecolor=edge_colour,
            markeredgewidth=0.5,
        )  # fmt: skip
    label(axes, x="marks: held-out rows; faint dots: training rows")
    legend(figure, handles)
    return figure


def _chosen(labels: Labels, classes: int, shown: Sequence[int] | None) -> list[int]:
    """Return the numbers of the classes that have a colour of their own, ascending."""
    if classes <= MOST:
        return list(range(classes))
    counts = np.bincount(labels[labels >= 0], minlength=classes)
    preferred = [*(shown or ()), *np.argsort(-counts, kind="stable").tolist()]
    return sorted(list(dict.fromkeys(preferred))[: MOST - 1])
