"""The study's picture: each round's mean differences to the baseline, with two standard errors either way."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from supcon.artifacts.files import write_atomic
from supcon.study.compare import Standing
from supcon.study.play import Played

_INK, _POINT, _LINE = "#333333", "#1f5fa8", "#9a9a9a"


def write_plot(path: Path, rounds: Sequence[Played], name: str, baseline: str) -> None:
    """Draw one panel a round, best on top; rounds without a difference are left out, and no picture is made of none."""
    from matplotlib.figure import Figure  # a second to import

    panels = [(played, lines) for played in rounds if (lines := [one for one in played.standings if one.gain])]
    if not panels:
        return
    heights = [len(lines) + 1.5 for _, lines in panels]
    figure = Figure(figsize=(8, 0.6 + 0.28 * sum(heights) + 0.5 * len(panels)), layout="constrained")
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=heights)[:, 0]
    for axis, (played, lines) in zip(axes, panels, strict=True):
        _draw(axis, lines)
        axis.set_title(
            f"round {played.number}, standard errors over {_cells(lines)}", loc="left", fontsize=9, color=_INK
        )
    axes[-1].set_xlabel(f"macro-F1 over {baseline}, out of fold, paired; bars: 2 standard errors; *: unequal passes")
    figure.suptitle(f"study {name}", fontsize=11)
    write_atomic(path, lambda file: figure.savefig(file, format="png", dpi=150))


def _cells(lines: Sequence[Standing]) -> str:
    """Return what the standard errors are over, where variants may have fewer cells than others."""
    counts = {one.gain.cells for one in lines if one.gain}
    if counts == {1}:
        return "rows of 1 cell"
    return f"{max(counts)} cells" if len(counts) == 1 else f"{min(counts)} to {max(counts)} cells"


def _draw(axis: Any, lines: Sequence[Standing]) -> None:
    gains = [one.gain for one in lines if one.gain]
    places = range(len(gains))
    axis.errorbar(
        [gain.value for gain in gains],
        places,
        xerr=[2 * gain.error for gain in gains],
        fmt="o",
        markersize=4,
        color=_POINT,
        elinewidth=1.2,
        capsize=2,
    )
    axis.axvline(0, color=_LINE, linewidth=1)
    axis.set_yticks(places, [one.variant + ("*" if one.unequal else "") for one in lines], fontsize=8)
    axis.set_ylim(len(gains) - 0.4, -0.6)  # best on top
    axis.grid(axis="x", color="#e4e4e4", linewidth=0.6)
    axis.set_axisbelow(True)
    axis.spines[["top", "right", "left"]].set_visible(False)
    axis.tick_params(axis="y", length=0)
    axis.tick_params(axis="x", labelsize=8)
