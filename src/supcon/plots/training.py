"""Learning curves, and what the stages cost."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from supcon.plots.look import COLOURS, beside, label, legend, named_panel, new_figure, panels

_STYLES = ("-", "--", ":", "-.")  # of lines: the next one once all colours are used


def learning_curves(
    logs: Mapping[str, pd.DataFrame], columns: Sequence[str], title: str = "", marks: Sequence[float] = ()
) -> Figure:
    """Draw a panel for each column over the epochs, with a line for each log, and an upright one at each of `marks`.

    `logs`: such as {"fold 0": the table of fold0/finetune.csv, ...}, numbers with a column `epoch`. A log that
    lacks a column has no line in its panel, and one with gaps a broken line; a column that no log has gets no panel.
    """
    logged = [column for column in columns if any(column in log and log[column].notna().any() for log in logs.values())]
    figure = new_figure(0.5 + 1.4 * max(len(logged), 1), title)
    grid = panels(figure, max(len(logged), 1), sharex=True)[:, 0]
    handles = {}
    for axes, column in zip(grid, logged, strict=False):
        for number, (name, log) in enumerate(logs.items()):
            if column in log:
                marker = "o" if log[column].notna().sum() == 1 else None
                (handles[name],) = axes.plot(
                    log["epoch"], log[column], linewidth=1.4, marker=marker, markersize=4,
                    color=COLOURS[number % len(COLOURS)], linestyle=_STYLES[number // len(COLOURS) % len(_STYLES)],
                )  # fmt: skip
        for mark in marks:
            axes.axvline(mark, color=COLOURS[-1], linewidth=1, linestyle=":")
        label(axes, title=column.replace("_", " "))
        axes.set_ylim(*_range_after_start([log[column] for log in logs.values() if column in log]))
    grid[-1].xaxis.set_major_locator(MaxNLocator(nbins=8, integer=True))
    label(grid[-1], x="epoch", title="" if logged else "nothing was logged")
    if len(handles) > 1:
        legend(figure, handles)
    return figure


def _range_after_start(columns: Sequence[pd.Series]) -> tuple[float, float]:
    """Return axis limits for all but the first tenth of the epochs, in which losses fall steeply."""
    values = pd.concat([column.iloc[len(column) // 10 :] for column in columns])
    finite = values[np.isfinite(values)]
    low, high = (0.0, 1.0) if finite.empty else (float(finite.min()), float(finite.max()))
    margin = 0.06 * (high - low) or 0.05 * abs(high) or 0.05
    return low - margin, high + margin


def stage_times(
    seconds: Mapping[str, Mapping[str, float]],
    memory_mb: Mapping[str, Mapping[str, float]] | None = None,
    title: str = "",
) -> Figure:
    """Draw the time of each stage as a bar, its folds side by side in it, and its peak memory where it is known.

    `seconds` and `memory_mb`: stage to fold ("fold 0", or "" for a stage without folds) to value.
    """
    figure, axes = named_panel(list(seconds), 0.6 + 0.36 * len(seconds), title)
    totals = [sum(folds.values()) for folds in seconds.values()]
    unit, length = _unit(max(totals, default=0.0))
    for row, (stage, folds) in enumerate(seconds.items()):
        left = 0.0
        for number, duration in enumerate(folds.values()):
            colour = COLOURS[0] if number % 2 == 0 else COLOURS[5]
            axes.barh(
                row, duration / length, left=left / length, height=0.6, color=colour, edgecolor="white", linewidth=0.5
            )
            left += duration
        peak = max((memory_mb or {}).get(stage, {}).values(), default=None)
        beside(axes, row, _shown_time(left) + (f", {peak / 1024:.1f} GB" if peak is not None else ""))
    axes.set_xlim(left=0)
    label(axes, x=f"{unit}, a shade a fold" + "; beside: peak memory" * bool(memory_mb))
    return figure


def _unit(longest: float) -> tuple[str, float]:
    for name, length in (("hours", 3600.0), ("minutes", 60.0)):
        if longest >= 2 * length:
            return name, length
    return "seconds", 1.0


def _shown_time(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
