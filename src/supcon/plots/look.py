"""What every figure shares: size, fonts, colours, and how names are written."""

import io
import textwrap
import unicodedata
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any, Literal

import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties, findfont, get_font
from matplotlib.ticker import MaxNLocator

WIDTH = 4.5  # inches: on a phone of 360 CSS pixels a letter of 9 points is 10 pixels high
BASE, SMALL, TITLE = 9.0, 8.0, 11.0  # points
INK, GREY, GRID = "#333333", "#8c8c8c", "#e6e6e6"
# after Okabe & Ito 2008: colour-blind readers can tell them apart, and they are dark enough for lines on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
BLUE, ORANGE = COLOURS[:2]
_TITLE_LETTERS = 46  # that fit into a line of the title
_LEGEND_LETTERS = 70  # that fit into a line of the legend
_HANDLE_LETTERS = 7  # the width of a legend's line or mark, with the space around it
_BOX = "\u25a1"


def as_png(figure: Figure, pixels: int = 1080) -> bytes:
    """Return the figure as a PNG `pixels` wide; 1080 is three times a phone's 360 CSS pixels, and sharp there."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=pixels / figure.get_figwidth(), metadata={"Software": None})
    return file.getvalue()


def new_figure(height: float, title: str = "", layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    """Return an empty figure of the common width, `height` inches high without its title.

    Use the "compressed" layout where panels have a fixed aspect ratio.
    """
    lines = textwrap.wrap(title, _TITLE_LETTERS, max_lines=3, placeholder=" …")
    figure = Figure(figsize=(WIDTH, height + 0.22 * len(lines)), layout=layout, facecolor="white")
    if lines:
        figure.suptitle("\n".join(written(line, _TITLE_LETTERS) for line in lines), fontsize=TITLE, color=INK)
    return figure


def panels(
    figure: Figure, rows: int = 1, columns: int = 1, heights: Sequence[float] | None = None, **options: Any
) -> npt.NDArray[Any]:
    """Return a figure's empty axes, [rows, columns], in the common look."""
    grid: npt.NDArray[Any] = figure.subplots(rows, columns, squeeze=False, height_ratios=heights, **options)
    for axes in grid.flat:
        axes.spines[["top", "right"]].set_visible(False)
        axes.spines[["left", "bottom"]].set_color(GREY)
        axes.tick_params(labelsize=BASE, color=GREY, labelcolor=INK)
        axes.grid(color=GRID, linewidth=0.7)
        axes.set_axisbelow(True)
    return grid


def label(axes: Axes, x: str = "", y: str = "", title: str = "", most: int = 46) -> None:
    """Label the axes and give the panel a title, where not empty; a long `x` is wrapped into two lines."""
    if x:
        lines = textwrap.wrap(x, most, max_lines=2, placeholder=" …")
        axes.set_xlabel("\n".join(written(line, most) for line in lines), fontsize=BASE, color=INK)
    if y:
        axes.set_ylabel(written(y, most), fontsize=BASE, color=INK)
    if title:
        axes.set_title(written(title, most), fontsize=BASE, color=INK, loc="left")


def name_rows(axes: Axes, names: Sequence[str], most: int = 20) -> None:
    """Name the rows of a panel along its y axis, the first on top, without ticks and grid lines."""
    axes.set_yticks(range(len(names)), [written(name, most) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")


def named_panel(names: Sequence[str], height: float, title: str = "", most: int = 20) -> tuple[Figure, Axes]:
    """Return a figure of one panel whose rows have names, and the panel."""
    figure = new_figure(height, title)
    axes = panels(figure)[0, 0]
    name_rows(axes, names, most)
    return figure, axes


def beside(axes: Axes, row: float, text: str, colour: str = INK) -> None:
    """Write a short text to the right of a row."""
    right_of_panel = axes.get_yaxis_transform()
    axes.text(1.02, row, text, transform=right_of_panel, va="center", ha="left", fontsize=SMALL, color=colour)


def legend(figure: Figure, entries: Mapping[str, Any], most: int = 16) -> None:
    """Add a legend below all panels, of names and the artists that show them, filled line by line."""
    names = [written(name, most) for name in entries]
    columns = max(1, min(len(names), int(_LEGEND_LETTERS / (_HANDLE_LETTERS + max(map(len, names), default=0)))))
    # matplotlib fills column after column, the first ones one longer where it does not come out even
    lengths = [len(names[column::columns]) for column in range(columns)]
    order = [line * columns + column for column in range(columns) for line in range(lengths[column])]
    handles = list(entries.values())
    figure.legend(
        [handles[entry] for entry in order], [names[entry] for entry in order], loc="outside lower center",
        ncols=columns, fontsize=SMALL, frameon=False, labelcolor=INK, handletextpad=0.4, columnspacing=1.0,
    )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.18 * -(-len(names) // columns))


def written(name: object, most: int = 20) -> str:
    """Return a name as a figure can show it: at most `most` letters, no markup, a box for letters the font lacks.

    Long names are cut in the middle: class names often differ at their ends.
    """
    text = "".join(_drawable(letter) for letter in " ".join(str(name).split()))
    if len(text) > most:
        end = (most - 1) // 2
        text = f"{text[: most - 1 - end]}…{text[len(text) - end :]}"
    return text.replace("$", r"\$")


def _drawable(letter: str) -> str:
    # control characters, text direction, joiners, emoji variants
    if unicodedata.category(letter) in ("Cc", "Cf") or "\ufe00" <= letter <= "\ufe0f":
        return ""
    return letter if ord(letter) in _glyphs(findfont(FontProperties())) else _BOX


@cache
def _glyphs(font: str) -> Mapping[int, int]:
    charmap: Mapping[int, int] = get_font(font).get_charmap()
    return charmap
