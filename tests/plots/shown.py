"""What a figure shows: its texts, and whether they can be read where it is drawn."""

from collections.abc import Iterator

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.text import Text

AWKWARD = [
    "$x$", "a_b^c{", r"\alpha $5", r"\$", "漢字", "😀\u200d👩", "عربى", "a" * 80, "line\nbreak\t", "<b>&amp;</b>",
    "\ud800\x07", "",
]  # fmt: skip
PHONE = 80  # dots per inch: 4.5 inches are 360 pixels


def draw(figure: Figure) -> FigureCanvasAgg:
    """Draw a figure as a phone shows it."""
    figure.set_dpi(PHONE)
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return canvas


def check(figure: Figure) -> None:
    """Assert that every text lies whole within the figure, that none covers another, and that none is markup."""
    canvas = draw(figure)
    texts = [text for text in drawn_texts(figure) if text.get_text().strip()]
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in texts]
    width, height = canvas.get_width_height()
    for text, box in zip(texts, boxes, strict=True):
        assert box.x0 > -1, f"{text.get_text()!r} is cut at the left"
        assert box.x1 < width + 1, f"{text.get_text()!r} is cut at the right"
        assert box.y0 > -1, f"{text.get_text()!r} is cut below"
        assert box.y1 < height + 1, f"{text.get_text()!r} is cut above"
        assert text._preprocess_math(text.get_text())[1] is False, text.get_text()  # type: ignore[attr-defined]
    for number, (text, box) in enumerate(zip(texts, boxes, strict=True)):
        for other, of_other in zip(texts[:number], boxes[:number], strict=True):
            across = min(box.x1, of_other.x1) - max(box.x0, of_other.x0)
            along = min(box.y1, of_other.y1) - max(box.y0, of_other.y0)
            assert min(across, along) < 1.5, f"{text.get_text()!r} covers {other.get_text()!r}"


def drawn_texts(figure: Figure) -> list[Text]:
    """Return the texts that are drawn: of ticks only those within view."""
    hidden = {id(text) for axes in figure.axes for text in _ticks_beyond(axes)}
    return [text for text in figure.findobj(Text) if text.get_visible() and id(text) not in hidden and _shown(text)]


def said(figure: Figure) -> list[str]:
    """Return what the drawn texts say, as a reader sees it."""
    draw(figure)
    return [text.get_text().replace(r"\$", "$") for text in drawn_texts(figure) if text.get_text()]


def _shown(text: Text) -> bool:
    axes = text.axes
    if axes is None or axes.axison:
        return axes is None or axes.get_visible()
    return text not in [*axes.get_xticklabels(), *axes.get_yticklabels()]


def _ticks_beyond(axes: Axes) -> Iterator[Text]:
    for axis in (axes.xaxis, axes.yaxis):
        low, high = sorted(axis.get_view_interval())
        slack = 1e-9 * (high - low)
        for tick in [*axis.get_major_ticks(), *axis.get_minor_ticks()]:
            for label in (tick.label1, tick.label2):
                if not axes.axison or not (low - slack <= np.asarray(tick.get_loc()).item() <= high + slack):
                    yield label
