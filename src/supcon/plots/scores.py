"""Scores with their intervals, what each step added, and how scores vary over seeds or settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from supcon.plots.look import (
    BLUE,
    COLOURS,
    GREY,
    INK,
    ORANGE,
    beside,
    label,
    legend,
    name_rows,
    named_panel,
    new_figure,
    panels,
)

Interval = tuple[float, float, float]  # score, low, high

_ROW, _MARGIN = 0.34, 0.6  # inches


@dataclass(frozen=True)
class Gain:
    """What a step adds to a score."""

    name: str
    value: float
    standard_error: float = float("nan")  # nan: not known
    used: bool = True  # False: tried but not used; drawn hollow, and the next step starts where this one did


def score_intervals(
    series: Mapping[str, Mapping[str, Interval]], metric: str = "macro-F1", title: str = "", note: str = ""
) -> Figure:
    """Draw a row for each name (folds and pooled, or runs), with a point and its interval for each series.

    `series`: such as {"cross-fitted": {"fold 0": (score, low, high), ..., "pooled": ...}, "raw": {...}}; the first one
    stands out. Names keep the order of the first series; a name that a series lacks has no point in it. `note`: what
    the intervals are, written below.
    """
    names = list(dict.fromkeys(name for scores in series.values() for name in scores))
    figure, axes = named_panel(names, _MARGIN + _ROW * len(names) * max(1, len(series) / 2), title)
    handles = {}
    for number, (kind, scores) in enumerate(series.items()):
        rows = [row for row, name in enumerate(names) if name in scores]
        values, low, high = np.array([scores[names[row]] for row in rows], float).reshape(-1, 3).T
        heights = np.array(rows) + (number - (len(series) - 1) / 2) * 0.6 / len(series)
        handles[kind] = axes.errorbar(
            values, heights, xerr=np.stack([values - low, high - values]).clip(0), fmt="o" if number == 0 else "s",
            markersize=5 if number == 0 else 4, capsize=2, elinewidth=1.4, color=COLOURS[number % len(COLOURS)],
            markerfacecolor=None if number == 0 else "white",
        )  # fmt: skip
    for name, (score, _, _) in next(iter(series.values()), {}).items():
        if np.isfinite(score):
            beside(axes, names.index(name), f"{score:z.4f}", COLOURS[0])
    label(axes, x=metric + (f"; {note}" if note else ""))
    if len(series) > 1:
        legend(figure, handles)
    return figure


def ladder(
    start: float, gains: Sequence[Gain], metric: str = "macro-F1", title: str = "", begin: str = "start"
) -> Figure:
    """Draw a waterfall: from the score `start`, named `begin`, what each step added, with its standard error."""
    names = [begin, *(gain.name for gain in gains), "end"]
    figure, axes = named_panel(names, _MARGIN + _ROW * len(names), title, most=22)
    total = start
    for row, gain in enumerate(gains, start=1):
        _step(axes, row, total, gain)
        reached = total + gain.value * gain.used
        axes.plot([reached, reached], [row, row + 1], color=GREY, linewidth=1)
        total = reached
    axes.plot([start, start], [0, 1], color=GREY, linewidth=1)
    for row, score in ((0, start), (len(gains) + 1, total)):
        axes.plot(score, row, "o", color=INK, markersize=6)
        beside(axes, row, f"{score:z.4f}")
    axes.use_sticky_edges = False
    axes.margins(x=0.08)
    known = any(np.isfinite(gain.standard_error) for gain in gains)
    unused = not all(gain.used for gain in gains)
    label(axes, x=metric + "; ± 1 standard error" * known + "; dotted: not used" * unused)
    return figure


def _step(axes: Axes, row: int, total: float, gain: Gain) -> None:
    colour = BLUE if gain.value >= 0 else ORANGE
    axes.barh(
        row, gain.value, left=total, height=0.55, color=colour if gain.used else "white", edgecolor=colour,
        linestyle="-" if gain.used else ":",
    )  # fmt: skip
    text = f"{gain.value:+z.4f}"
    if np.isfinite(gain.standard_error):
        axes.errorbar(total + gain.value, row, xerr=gain.standard_error, color=INK, elinewidth=1.2, capsize=2)
        text += f" ± {gain.standard_error:.4f}"
    beside(axes, row, text, INK if gain.used else GREY)


def stability(
    scores: Mapping[str, Sequence[float]], metric: str = "macro-F1", title: str = "", over: str = "seed"
) -> Figure:
    """Draw a row for each run or setting ("lr 0.001"): a dot for each score (of a seed, say), their mean and sd.

    `over` says what the dots are. Scores that are nan (failed) are left out.
    """
    figure, axes = named_panel(list(scores), _MARGIN + _ROW * len(scores), title)
    for row, values in enumerate(scores.values()):
        known = np.array([value for value in values if np.isfinite(value)])
        if len(known) == 0:
            beside(axes, row, "no score", GREY)
            continue
        mean, spread = known.mean(), known.std(ddof=1) if len(known) > 1 else 0.0
        axes.plot([mean - spread, mean + spread], [row, row], color=GREY, linewidth=5, alpha=0.4, solid_capstyle="butt")
        axes.plot([mean, mean], [row - 0.28, row + 0.28], color=INK, linewidth=1.6)
        axes.plot(known, np.full(len(known), row), "o", color=BLUE, markersize=5, alpha=0.75)
        beside(axes, row, f"{mean:z.4f}" + (f" ± {spread:.4f}" if len(known) > 1 else ""))
    label(axes, x=f"{metric}; a dot a {over}, mean, 1 sd")
    return figure


def differences(rounds: Mapping[str, Mapping[str, tuple[float, float]]], unit: str, title: str = "") -> Figure:
    """Draw a panel for each round: each variant's difference to a baseline with two standard errors either way.

    `rounds`: a panel's title to variant to (difference, standard error). `unit`, written below, names the difference.
    """
    heights = [max(len(lines), 1) for lines in rounds.values()] or [1]
    figure = new_figure(_MARGIN + 0.3 * len(heights) + 0.28 * sum(heights), title)
    grid = panels(figure, len(heights), heights=heights)[:, 0]
    for axes, (name, lines) in zip(grid, rounds.items(), strict=False):
        name_rows(axes, list(lines), most=18)
        value, error = np.array(list(lines.values()), float).reshape(-1, 2).T
        axes.axvline(0, color=GREY, linewidth=1)
        axes.errorbar(value, range(len(lines)), xerr=2 * error, fmt="o", markersize=5, color=BLUE, elinewidth=1.4)
        for row, difference in enumerate(value):
            if np.isfinite(difference):
                beside(axes, row, f"{difference:+z.4f}")
        label(axes, title=name)
    label(grid[-1], x=f"{unit}; ± 2 standard errors")
    return figure
