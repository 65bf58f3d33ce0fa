"""The confusion matrix, its classes in an order that shows who is confused with whom."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

Matrix = npt.NDArray[np.int64]  # [C, C], rows of true class i predicted as class j


def cluster_order(matrix: Matrix) -> npt.NDArray[np.int64]:
    """Return an order of the classes [C] in which those confused with each other are neighbours.

    Hierarchical clustering (average linkage) by the symmetrised, row-normalised confusions, leaves in optimal order.
    """
    raise NotImplementedError


def confusion(matrix: Matrix, classes: Sequence[str], title: str = "") -> Figure:
    """Draw the confusion matrix, each row divided by its sum: the diagonal in one colour, errors in another beside it.

    Up to 30 classes in their own order with their names; of more in the order of `cluster_order`, with as many names as
    can be read, and, of very many, a second panel of the classes that are confused most.
    """
    raise NotImplementedError
