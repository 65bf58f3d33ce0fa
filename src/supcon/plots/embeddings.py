"""The map of the embeddings."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from supcon.arrays import Features, Labels, RowMask
from supcon.plots.look import COLOURS, GREY, INK, label, legend, new_figure, panels

MOST = 20  # classes that can be told apart: 7 colours in 3 shapes
_SHAPES, _REST = "o^s", "#bdbdbd"
_AREA = 24_000  # points^2, divided among all marks


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
    groups = [(classes[number], labels == number, *_mark(index)) for index, number in enumerate(chosen)]
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


def _mark(index: int) -> tuple[str, str]:
    return COLOURS[index % len(COLOURS)], _SHAPES[index // len(COLOURS)]
