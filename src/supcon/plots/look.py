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
# after Okabe & Ito 2008: told apart by colour-blind readers too, and dark enough for lines on white
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#882255")
BLUE, ORANGE = COLOURS[:2]
STYLES = ("-", "--", ":", "-.")  # of lines, where the colours come round again
_TITLE_LETTERS = 46  # in a line
_LEGEND_LETTERS, _HANDLE_LETTERS = 70, 7  # in a line; that a sample with its space takes as much room as
_BOX = "\u25a1"


def as_png(figure: Figure, pixels: int = 1080) -> bytes:
    """Return the figure as a PNG of that width: three times a phone's 360 CSS pixels, sharp on its screen."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=pixels / figure.get_figwidth(), metadata={"Software": None})
    return file.getvalue()


def new_figure(height: float, title: str = "", layout: Literal["constrained", "compressed"] = "constrained") -> Figure:
    """Return an empty figure of the common width and `height` inches beside its title.

    The layout is "compressed" where panels keep their own shape.
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
    """Name the axes, and the panel at its left; what is empty stays as it is, and a long x goes on in a second line."""
    if x:
        lines = textwrap.wrap(x, most, max_lines=2, placeholder=" …")
        axes.set_xlabel("\n".join(written(line, most) for line in lines), fontsize=BASE, color=INK)
    if y:
        axes.set_ylabel(written(y, most), fontsize=BASE, color=INK)
    if title:
        axes.set_title(written(title, most), fontsize=BASE, color=INK, loc="left")


def name_rows(axes: Axes, names: Sequence[str], most: int = 20) -> None:
    """Give each place on the y axis its name, the first on top, and no ticks or lines across."""
    axes.set_yticks(range(len(names)), [written(name, most) for name in names])
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
    axes.spines["left"].set_visible(False)
    axes.grid(False, axis="y")


def beside(axes: Axes, row: float, text: str, colour: str = INK) -> None:
    """Write a short text right of a row."""
    where = axes.get_yaxis_transform()
    axes.text(1.02, row, text, transform=where, va="center", ha="left", fontsize=SMALL, color=colour)


def legend(figure: Figure, entries: Mapping[str, Any], most: int = 16) -> None:
    """Add a legend below all panels, a name each and the artist that shows it, line by line."""
    names = [written(name, most) for name in entries]
    columns = max(1, min(len(names), int(_LEGEND_LETTERS / (_HANDLE_LETTERS + max(map(len, names), default=0)))))
    # matplotlib fills column after column, the first ones one longer where it does not come out even
    lengths = [len(names[column::columns]) for column in range(columns)]
    order = [line * columns + column for column in range(columns) for line in range(lengths[column])]
    handles = list(entries.values())
    figure.legend(
        [handles[place] for place in order], [names[place] for place in order], loc="outside lower center",
        ncols=columns, fontsize=SMALL, frameon=False, labelcolor=INK, handletextpad=0.4, columnspacing=1.0,
    )  # fmt: skip
    figure.set_figheight(figure.get_figheight() + 0.18 * -(-len(names) // columns))


def line_style(number: int) -> dict[str, str]:
    """Return colour and style of the line of that number, no two alike among the first 28."""
    return {"color": COLOURS[number % len(COLOURS)], "linestyle": STYLES[number // len(COLOURS) % len(STYLES)]}


def written(name: object, most: int = 20) -> str:
    """Return a name as a figure can show it: at most `most` letters, no markup, a box for what the font lacks.

    Long names lose their middle: classes often differ at their ends.
    """
    text = "".join(_drawable(letter) for letter in " ".join(str(name).split()))
    if len(text) > most:
        end = (most - 1) // 2
        text = f"{text[: most - 1 - end]}…{text[len(text) - end :]}"
    return text.replace("$", r"\$")


def _drawable(letter: str) -> str:
    kind = unicodedata.category(letter)
    if kind in ("Cc", "Cf") or "\ufe00" <= letter <= "\ufe0f":  # control, direction, joiners, variants of emoji
        return ""
    return letter if ord(letter) in _glyphs(findfont(FontProperties())) else _BOX


@cache
def _glyphs(font: str) -> Mapping[int, int]:
    charmap: Mapping[int, int] = get_font(font).get_charmap()
    return charmap
