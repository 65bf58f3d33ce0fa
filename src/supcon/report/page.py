"""A page of sections as one HTML file that needs nothing else: no network, no script, pictures within."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template

if TYPE_CHECKING:  # its module imports matplotlib
    from supcon.report.pictures import Picture

_FOLDER = Path(__file__).parent


class Missing(Exception):
    """What a section needs is not there. The message says why, and which command makes it."""


@dataclass(frozen=True)
class Text:
    """A paragraph."""

    text: str
    kind: ClassVar[str] = "text"


@dataclass(frozen=True)
class Point:
    """A sentence, and the title of the section that it leads to, if any."""

    text: str
    section: str = ""

    @property
    def anchor(self) -> str:
        """Of that section."""
        return anchor_of(self.section)


@dataclass(frozen=True)
class Points:
    """A list of sentences."""

    points: Sequence[Point]
    kind: ClassVar[str] = "points"


@dataclass(frozen=True)
class Figure:
    """A plot with its caption."""

    picture: "Picture"
    caption: str = ""
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Table:
    """Rows of cells; the first `left` columns are text, the others numbers."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""
    left: int = 1
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Card:
    """One image, or several beside each other, and lines about them."""

    pictures: Sequence["Picture"]
    lines: Sequence[str]


@dataclass(frozen=True)
class Gallery:
    """Cards under a heading."""

    heading: str
    cards: Sequence[Card]
    kind: ClassVar[str] = "gallery"


Block = Text | Points | Figure | Table | Gallery


@dataclass(frozen=True)
class Section:
    """A part of the page that the contents name."""

    title: str
    blocks: Sequence[Block]

    @property
    def anchor(self) -> str:
        """Where the contents lead to."""
        return anchor_of(self.title)


def make_section(title: str, make: Callable[[], Sequence[Block]]) -> Section:
    """Return the section of what `make` returns, or one that says what it lacks."""
    try:
        return Section(title, make())
    except Missing as reason:
        return Section(title, [Text(str(reason))])


def anchor_of(title: str) -> str:
    """Return a section's name in addresses."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def render(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return the page. Whatever text it shows is escaped."""
    return _template().render(title=title, about=about, sections=sections)


@cache
def _template() -> Template:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html")
