"""What single classes cost, and how two runs differ in them."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.figure import Figure

from supcon.plots.look import BLUE, GREY, ORANGE, beside, label, named_panel

_ROW, _MARGIN = 0.26, 0.6  # inches


def class_costs(table: pd.DataFrame, worst: int = 20, title: str = "") -> Figure:
    """Draw what each class takes from macro-F1, the `worst` classes, the costliest on top.

    `table` has a row a class with the columns `class` (name), `f1` and `support` (rows). A class costs (1 - F1) /
    classes; those whose F1 is nan (none of their rows is scored) are left out and not counted.
    """
    scored = table[table["f1"].notna()]
    costliest = scored.sort_values("f1", kind="stable").head(worst)
    costs = (1 - costliest["f1"].to_numpy(float)) / max(len(scored), 1)
    figure, axes = named_panel(list(costliest["class"]), _MARGIN + _ROW * max(len(costliest), 1), title)
    axes.barh(np.arange(len(costs)), costs, height=0.65, color=ORANGE)
    for row, (f1, support) in enumerate(zip(costliest["f1"], costliest["support"], strict=True)):
        beside(axes, row, f"F1 {f1:.3f}, {int(support)} rows")
    axes.set_xlim(0, max(costs.max(initial=0.0) * 1.05, 1e-4))
    shown = (
        f"the {len(costliest)} costliest of {len(scored)} classes" if len(costliest) < len(scored) else "every class"
    )
    label(axes, x=f"macro-F1 lost; {shown}")
    return figure


def per_class_difference(
    classes: Sequence[str],
    differences: npt.ArrayLike,
    low: npt.ArrayLike,
    high: npt.ArrayLike,
    most: int = 30,
    title: str = "",
) -> Figure:
    """Draw the difference of two runs' F1 in each class with its interval `low` to `high`, [classes] each.

    Sorted by difference; of more classes than `most`, those with the largest differences. nan is left out.
    """
    value, lowest, highest = (np.asarray(values, float) for values in (differences, low, high))
    known = np.flatnonzero(np.isfinite(value))
    largest = known[np.argsort(-np.abs(value[known]), kind="stable")[:most]]
    order = largest[np.argsort(-value[largest], kind="stable")]
    names = [classes[number] for number in order]
    figure, axes = named_panel(names, _MARGIN + _ROW * max(len(order), 1), title)
    axes.axvline(0, color=GREY, linewidth=1)
    for row, number in enumerate(order):
        colour = BLUE if value[number] >= 0 else ORANGE
        axes.plot([lowest[number], highest[number]], [row, row], color=colour, linewidth=1.4)
        axes.plot(value[number], row, "o", color=colour, markersize=5)
        beside(axes, row, f"{value[number]:+.3f}")
    shown = f"; the {len(order)} largest of {len(known)}" if len(order) < len(known) else ""
    label(axes, x=f"difference in F1{shown}")
    return figure
