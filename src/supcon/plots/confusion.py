"""The confusion matrix, with classes that are confused with each other side by side."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from supcon.plots.look import BLUE, GREY, INK, ORANGE, SMALL, label, new_figure, panels, written

ConfusionCounts = npt.NDArray[np.int64]  # [C, C], rows of true class i predicted as class j
ClassOrder = npt.NDArray[np.int64]  # class numbers
Shares = npt.NDArray[np.float64]  # [C, C], of a true class's rows

_ALL_NAMED = 30  # classes
_COUNTED = 12  # up to so many classes, cells show their count; also how many most confused ones are shown apart
_CELLS = 150  # on a side, that can still be seen
_TICKS = 22
_LETTERS_ACROSS = 36  # of all names side by side; longer ones are written upwards
_OPTIMAL = 200  # classes; the best order of leaves takes time cubic in their number

_RIGHT = LinearSegmentedColormap.from_list("right", ["#ffffff", BLUE])
_WRONG = LinearSegmentedColormap.from_list("wrong", ["#fde3cc", ORANGE, "#5c2600"])


def cluster_order(matrix: ConfusionCounts) -> ClassOrder:
    """Return an order of the classes [C] in which classes that are confused with each other are neighbours.

    By hierarchical clustering (average linkage) on the symmetrised shares of confused rows; up to 200 classes the
    leaves are in optimal order.
    """
    from scipy.cluster.hierarchy import leaves_list, linkage
    from scipy.spatial.distance import squareform

    if len(matrix) < 3:
        return np.arange(len(matrix))
    shares = _shares(matrix)
    distance = 1 - (shares + shares.T) / 2
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=len(matrix) <= _OPTIMAL)
    order: ClassOrder = leaves_list(tree).astype(np.int64)
    return order


def most_confused(matrix: ConfusionCounts, most: int) -> ClassOrder:
    """Return the `most` classes with the largest confusions between two of them, in the order of `cluster_order`."""
    both = np.triu(matrix + matrix.T, 1)
    pairs = np.argsort(-both, axis=None, kind="stable")[: 2 * most]
    confused = np.stack(np.unravel_index(pairs[both.flat[pairs] > 0], both.shape), axis=1)
    classes = np.array(list(dict.fromkeys(confused.ravel().tolist()))[:most], dtype=np.int64)
    return classes[cluster_order(matrix[np.ix_(classes, classes)])]


def confusion(matrix: ConfusionCounts, classes: Sequence[str], title: str = "") -> Figure:
    """Draw the confusion matrix, each row divided by its sum: the diagonal in one colour, errors in another.

    Up to 30 classes keep their order and all have their names. More are in the order of `cluster_order`, with as many
    names as can be read; a second panel shows the classes that are confused most.
    """
    if len(matrix) <= _ALL_NAMED:
        figure = new_figure(4.9, title, "compressed")
        axes = panels(figure)[0, 0]
        _draw(figure, axes, matrix, np.arange(len(matrix)), classes)
        return figure
    apart = most_confused(matrix, _COUNTED)
    figure = new_figure(9.2 if len(apart) else 4.6, title, "compressed")
    upper, *lower = panels(figure, 2 if len(apart) else 1)[:, 0]
    _draw_overview(figure, upper, matrix, classes)
    for axes in lower:
        _draw(figure, axes, matrix, apart, classes)
        label(axes, title=f"the {len(apart)} classes that are confused most")
    return figure


def _draw(figure: Figure, axes: Axes, matrix: ConfusionCounts, numbers: ClassOrder, classes: Sequence[str]) -> None:
    """Draw the cells of the classes `numbers` with their names, and their counts where there is room."""
    cells, diagonal = np.ix_(numbers, numbers), np.eye(len(numbers), dtype=bool)
    shares = _shares(matrix)[cells]
    _image(figure, axes, shares, diagonal)
    names = [classes[number] for number in numbers]
    largest = float(np.where(diagonal, 0, shares).max())
    size = SMALL if len(numbers) <= 20 else SMALL - 1.5
    upright = len(names) * max(map(len, names)) > _LETTERS_ACROSS
    axes.set_yticks(range(len(numbers)), [written(name, 16) for name in names], fontsize=size)
    axes.set_xticks(range(len(numbers)), [written(name, 12) for name in names], fontsize=size, rotation=90 * upright)
    if len(numbers) <= _COUNTED:
        for (row, column), count in np.ndenumerate(matrix[cells]):
            if count:
                dark = shares[row, column] > (0.5 if row == column else 0.4 * largest)
                colour = "white" if dark else INK
                axes.text(column, row, str(count), ha="center", va="center", fontsize=SMALL - 1, color=colour)


def _draw_overview(figure: Figure, axes: Axes, matrix: ConfusionCounts, classes: Sequence[str]) -> None:
    """Draw all classes, clustered; where they are too many to be seen, in blocks that show their largest error."""
    order = cluster_order(matrix)
    shares = _shares(matrix)[np.ix_(order, order)]
    block = -(-len(shares) // _CELLS)
    errors = _blocks(np.where(np.eye(len(shares), dtype=bool), 0, shares), block)
    right = np.diag(_blocks(np.diag(np.diag(shares)), block))
    on_diagonal = np.eye(len(errors), dtype=bool) & (errors == 0)
    _image(figure, axes, np.where(on_diagonal, np.diag(right), errors), on_diagonal)
    ticks = np.arange(0, len(shares), -(-len(shares) // _TICKS))
    axes.set_yticks(ticks / block, [written(classes[order[tick]], 16) for tick in ticks], fontsize=SMALL - 1)
    axes.set_xticks([])
    label(axes, title=f"{len(shares)} classes, clustered" + (f", in blocks of {block}" if block > 1 else ""))


def _image(figure: Figure, axes: Axes, shares: Shares, diagonal: npt.NDArray[np.bool_]) -> None:
    axes.grid(False)
    axes.tick_params(length=0)
    errors = np.ma.array(shares, mask=diagonal | (shares == 0))
    largest = float(errors.max()) if errors.count() else 1.0
    options: dict[str, Any] = {"interpolation": "nearest", "aspect": "equal"}
    axes.imshow(np.ma.array(shares, mask=~diagonal), cmap=_RIGHT, vmin=0, vmax=1, **options)
    image = axes.imshow(errors, cmap=_WRONG, norm=Normalize(0, largest), **options)
    label(axes, x="predicted class", y="true class")
    if errors.count():
        bar = figure.colorbar(image, ax=axes, orientation="horizontal", shrink=0.7, aspect=30, pad=0.02)
        bar.ax.tick_params(labelsize=SMALL, color=GREY, labelcolor=INK)
        bar.outline.set_visible(False)
        bar.locator = MaxNLocator(5)
        bar.formatter = PercentFormatter(1, decimals=None)
        bar.set_label("errors: share of the true class's rows", fontsize=SMALL, color=INK)


def _blocks(values: Shares, block: int) -> Shares:
    """Return the largest value of each block x block square."""
    side = -(-len(values) // block)
    padded = np.pad(values, (0, side * block - len(values)))
    largest: Shares = padded.reshape(side, block, side, block).max(axis=(1, 3))
    return largest


def _shares(matrix: ConfusionCounts) -> Shares:
    """Return each row divided by its sum; a row of zeros stays."""
    shares: Shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    return shares
