"""A page of sections as one HTML file that needs nothing else: no network, no script, pictures within."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from tqdm import tqdm

if TYPE_CHECKING:  # its module imports matplotlib
    from supcon.report.pictures import Picture

_Shown = TypeVar("_Shown")  # a run, or several beside each other


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


def make_sections(contents: Mapping[str, Callable[[_Shown], Sequence[Block]]], shown: _Shown, by: str) -> list[Section]:
    """Return the sections of what is `shown`; one whose data is missing says so. `by`: who shows the progress."""
    sections = []
    for title, make in tqdm(contents.items(), by, unit="section", leave=False, disable=None):
        try:
            sections.append(Section(title, make(shown)))
        except Missing as reason:
            sections.append(Section(title, [Text(str(reason))]))
    return sections


def render(title: str, about: str, sections: Sequence[Section]) -> str:
    """Return the page. Whatever text it shows is escaped."""
    loader = FileSystemLoader(Path(__file__).parent)
    page = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    page.filters["anchor"] = lambda title: re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")
    return page.get_template("page.html").render(title=title, about=about, sections=sections)
