"""What single classes cost, and how two runs differ in them."""

from collections.abc import Sequence

import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure


def class_costs(table: pd.DataFrame, worst: int = 20, title: str = "") -> Figure:
    """Draw what each class takes from macro-F1, the `worst` classes, dearest on top.

    `table` has a row a class with the columns `class` (name), `f1` and `support` (rows). A class costs (1 - F1) /
    classes; those whose F1 is nan (none of their rows is scored) are left out and not counted.
    """
    raise NotImplementedError


def per_class_difference(
    classes: Sequence[str],
    differences: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    most: int = 30,
    title: str = "",
) -> Figure:
    """Draw the difference of two runs' F1 in each class with its interval `low` to `high`, [classes] each.

    Sorted by difference; of more classes than `most` the largest differences either way. nan: left out.
    """
    raise NotImplementedError
