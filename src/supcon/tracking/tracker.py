"""What a tracker is told, whichever library it is."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from supcon.settings import Request, fold_name
from supcon.settings.sources import Flat, shown_settings


@dataclass(frozen=True)
class Subject:
    """What a tracker's run is of: a training stage of a fold, or the scores and the page of a whole run."""

    request: Request
    stage: str
    fold: int | None = None

    @property
    def folder(self) -> Path:
        """Where the stage's files lie."""
        return self.request.run_folder if self.fold is None else self.request.fold_folder(self.fold)

    @property
    def label(self) -> str:
        """What messages call it."""
        return self.stage if self.fold is None else f"{self.stage} fold {fold_name(self.fold)}"

    @property
    def name(self) -> str:
        """What trackers call it, unlike all others of the root."""
        return f"{self.request.run} {self.label}"

    @property
    def project(self) -> str:
        """What all runs of a root belong to: the root's own name, in characters that every library takes."""
        return re.sub(r"[^\w-]+", "-", self.request.root.name)[:100].strip("-") or "supcon"

    @property
    def store(self) -> Path:
        """The folder of what trackers keep on this machine."""
        return self.request.root / "tracking"

    @property
    def settings(self) -> Flat:
        """The run's settings by dotted key, as they may be shown."""
        return shown_settings(self.request.settings)

    @property
    def facts(self) -> dict[str, str]:
        """What tells the subject from others."""
        facts = {"run": self.request.run, "stage": self.stage}
        return facts if self.fold is None else {**facts, "fold": fold_name(self.fold)}


@dataclass(frozen=True)
class Kept:
    """What a later process must know of what a tracker was told."""

    id: str = ""  # of the tracker's run, which goes on; empty: there is none
    epochs: int = 0  # so many were told
    scores: str = ""  # hash of the scores that were told


class Tracker(Protocol):
    """A run of a tracking library. Its class takes a `Subject`, and what was kept of its former process.

    Methods and constructors raise whatever the library raises.
    """

    id: str  # by which a later process goes on with it
    place: str  # where it is to be seen, for a line

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of an epoch, counted from 1."""

    def scores(self, scores: Mapping[str, float]) -> None:
        """Take the scores of a whole run."""

    def page(self, path: Path) -> None:
        """Take the report of a whole run, a file of HTML."""

    def close(self, *, failed: bool) -> None:
        """Write what is still in memory, and end the run."""
