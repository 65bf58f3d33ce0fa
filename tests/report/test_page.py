"""What a page is made of."""

import re

import numpy as np
from matplotlib.figure import Figure as Drawing

from supcon.report.page import Block, Card, Figure, Gallery, Point, Points, Section, Table, Text, render
from supcon.report.pictures import THUMBNAIL, Picture, of_figure, of_image

EVIL = "<script>alert('x')</script>\"&"
ESCAPED = "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&#34;&amp;"
PICTURE = Picture("data:image/png;base64,AA", 10, 10, EVIL)


def test_whatever_a_page_shows_is_escaped() -> None:
    blocks: list[Block] = [
        Text(EVIL),
        Points([Point(EVIL, EVIL)]),
        Figure(PICTURE, EVIL),
        Table([EVIL], [[EVIL]], EVIL),
        Gallery(EVIL, [Card([PICTURE], [EVIL])]),
    ]
    page = render(EVIL, EVIL, [Section(EVIL, blocks)])
    assert "<script" not in page
    assert page.count(ESCAPED) == 17


def test_a_page_asks_for_nothing_and_fits_a_phone() -> None:
    page = render("a run", "about", [Section("Scores", [Text("good")])])
    assert not re.search(r"https?://", page)
    assert "default-src 'none'; img-src data:" in page
    assert '<meta name="viewport" content="width=device-width' in page
    assert "@media print" in page
    assert '<a href="#scores">Scores</a>' in page
    assert '<section id="scores">' in page


def test_text_columns_of_a_table_stand_left_and_numbers_right() -> None:
    page = render("a run", "", [Section("x", [Table(["setting", "here", "rows"], [["a", "b", "7"]], left=2)])])
    assert '<td>a</td><td>b</td><td class="n">7</td>' in page


def test_the_same_figure_gives_the_same_bytes() -> None:
    def drawn() -> Picture:
        drawing = Drawing(figsize=(3, 2))
        drawing.subplots().plot([1, 2])
        return of_figure(drawing, "a line")

    assert drawn() == drawn()
    assert drawn().uri.startswith("data:image/svg+xml;base64,")
    assert (drawn().width, drawn().height) == (288, 192)


def test_a_figure_of_many_points_is_a_png() -> None:
    drawing = Drawing(figsize=(3, 2))
    drawing.subplots().scatter(*np.random.default_rng(0).random((2, 3000)))
    assert of_figure(drawing, "points").uri.startswith("data:image/png;base64,")


def test_a_thumbnail_is_small_and_keeps_its_shape() -> None:
    noise = np.random.default_rng(0).integers(0, 256, size=(600, 300, 3)).astype(np.uint8)
    large, tiny = of_image(noise, "noise"), of_image(noise[:28, :28], "digit")
    assert (large.width, large.height) == (THUMBNAIL // 2, THUMBNAIL)
    assert len(large.uri) < 10_000
    assert large.uri.startswith("data:image/jpeg")
    assert tiny.uri.startswith("data:image/png")  # pixel by pixel, enlarged by the page
    assert (tiny.width, tiny.height) == (THUMBNAIL, THUMBNAIL)
