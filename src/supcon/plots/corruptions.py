"""Scores under corrupted images."""

from collections.abc import Mapping

import numpy as np
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure

from supcon.plots.look import BASE, COLOURS, INK, ORANGE, SMALL, label, legend, named_panel, new_figure, panels, written

_LOW = LinearSegmentedColormap.from_list("low", ["#5c2600", ORANGE, "#fdebd8", "#ffffff"])
ScoreBySeverity = Mapping[int, float]  # severity 0: the clean images


def corruption_curves(
    scores: Mapping[str, Mapping[str, ScoreBySeverity]], metric: str = "macro-F1", title: str = ""
) -> Figure:
    """Draw a small panel for each corruption: score over severity 0 .. 5, with a line for each run.

    `scores`: run to corruption to severity to score; what is missing is left out.
    """
    names = list(dict.fromkeys(name for run in scores.values() for name in run))
    rows = max(1, (len(names) + 1) // 2)
    figure = new_figure(0.5 + 1.2 * rows, title)
    grid = panels(figure, rows, 2, sharex=True, sharey=True)
    handles = {}
    for axes, name in zip(grid.flat, names, strict=False):
        for number, (run, corruptions) in enumerate(scores.items()):
            curve = sorted(corruptions.get(name, {}).items())
            if curve:
                (handles[run],) = axes.plot(
                    *zip(*curve, strict=True), marker="os^D"[number % 4], markersize=3.5, linewidth=1.4,
                    color=COLOURS[number % len(COLOURS)],
                )  # fmt: skip
        label(axes, title=name, most=22)
    for axes in grid.flat[len(names) :]:
        axes.set_axis_off()
    grid[0, 0].set_xticks(range(6))
    for axes in grid.flat[max(len(names) - 2, 0) : len(names)]:  # the lowest of each column
        axes.tick_params(labelbottom=True)
        label(axes, x="severity (0: clean)")
    figure.supylabel(written(metric), fontsize=BASE, color=INK)
    if len(handles) > 1:
        legend(figure, handles)
    return figure


def corruption_heat(scores: Mapping[str, ScoreBySeverity], metric: str = "macro-F1", title: str = "") -> Figure:
    """Draw one run's scores as a coloured table: a row for each corruption, worst on top, columns of severities."""
    severities = sorted({severity for curve in scores.values() for severity in curve})
    values = np.array([[curve.get(severity, np.nan) for severity in severities] for curve in scores.values()])
    values = values.reshape(len(scores), len(severities))
    mean = np.nan_to_num(np.nansum(values, axis=1) / np.maximum(np.isfinite(values).sum(axis=1), 1))
    order = np.argsort(mean, kind="stable")
    names = list(scores)
    figure, axes = named_panel([names[number] for number in order], 0.7 + 0.3 * max(len(names), 1), title)
    axes.grid(False)
    if values.size:
        axes.imshow(values[order], cmap=_LOW, aspect="auto", vmin=0, vmax=1)
    axes.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axes.set_xticks(range(len(severities)), [str(severity) for severity in severities])
    for row, number in enumerate(order):
        for column, value in enumerate(values[number]):
            if np.isfinite(value):
                colour = "white" if value < 0.4 else INK
                axes.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=SMALL, color=colour)
    label(axes, x=f"severity (0: clean), {metric}")
    return figure
