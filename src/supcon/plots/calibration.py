"""The reliability diagram."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullLocator, StrMethodFormatter

from supcon.metrics.calibration import ReliabilityBins
from supcon.plots.look import COLOURS, GREY, label, legend, new_figure, panels


def reliability(before: ReliabilityBins, after: ReliabilityBins | None = None, title: str = "") -> Figure:
    """Draw accuracy over confidence in bins, beside the diagonal of a calibrated model; below, the rows of each bin.

    `before` and `after` the temperature, from `supcon.metrics.calibration.reliability_bins`. A bin without rows has no
    point, and one with many rows a large point.
    """
    series = {"as predicted": before} if after is None else {"before temperature": before, "after": after}
    figure = new_figure(4.4, title)
    upper, lower = panels(figure, 2, heights=(3, 1), sharex=True)[:, 0]
    upper.plot([0, 1], [0, 1], color=GREY, linewidth=1, linestyle="--")
    handles = {}
    for number, (name, bins) in enumerate(series.items()):
        rows, colour = bins.count > 0, COLOURS[number]
        points = bins.confidence[rows], bins.accuracy[rows]
        upper.plot(*points, linewidth=1.2, alpha=0.5, color=colour)
        size = 15 + 75 * np.sqrt(bins.count[rows] / bins.count.max(initial=1))
        face = colour if number == 0 else "white"
        handles[name] = upper.scatter(
            *points, s=size, marker="os"[number], color=colour, facecolors=face, linewidths=1.4, zorder=3
        )
        width = np.diff(bins.edges) / (len(series) + 0.2)
        lower.bar(bins.edges[:-1] + number * width, bins.count, width, align="edge", color=colour, alpha=0.85)
    upper.set_xlim(-0.02, 1.02)
    upper.set_ylim(-0.03, 1.03)
    if before.count.any():
        lower.set_yscale("log")
        lower.set_ylim(bottom=0.7)
        lower.yaxis.set_major_locator(LogLocator(10, numticks=5))
        lower.yaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))
        lower.yaxis.set_minor_locator(NullLocator())
    label(upper, y="accuracy")
    label(lower, x="confidence", y="rows")
    legend(figure, handles, most=20)
    return figure
