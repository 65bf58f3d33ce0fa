"""The trackers of a run. One that fails is left with a line, and the run goes on without it."""

import importlib.util
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from supcon.errors import UserError, masked, printable
from supcon.randomness import undisturbed
from supcon.run.done import read_result
from supcon.run.scores import POOLED
from supcon.settings import Request, Settings
from supcon.storage.files import digest, read_json, write_json
from supcon.tracking.libraries import CLASSES
from supcon.tracking.tracker import Kept, Subject, Tracker

PINS = {  # those of requirements-trackers.txt and requirements-trackio.txt
    "tensorboard": "tensorboard==2.21.0", "wandb": "wandb==0.31.0", "mlflow": "mlflow-skinny==3.17.2",
    "trackio": "trackio==0.43.0",
}  # fmt: skip
_INSTALLED_BY = PINS | {"trackio": "--no-deps -r requirements-trackio.txt"}


def require_trackers(settings: Settings) -> None:
    """Raise `UserError` where the library of a tracker that is asked for is not installed."""
    for name in settings.trackers:
        if not is_installed(name):
            raise UserError(
                f"--track {name}: {PINS[name]} is not installed: {sys.executable} -m pip install"
                f" {_INSTALLED_BY[name]}, or leave {name} out of --track (none: no tracker)"
            )


def is_installed(name: str) -> bool:
    """Say whether there is a library of that name; a folder is none, such as the one where wandb keeps its files."""
    spec = importlib.util.find_spec(name)
    return spec is not None and spec.origin is not None


class Trackers:
    """What tells the trackers of a run of one stage, from its beginning to its end.

    `STAGE.trackers.json` beside the stage's files keeps what they were told, by which a later process goes on. Nothing
    here raises what a library raises, or draws from the streams of random numbers that training draws from.
    """

    def __init__(self, subject: Subject, needed: Callable[[Kept], bool] = lambda _: True) -> None:
        """Begin with what `--track` names, where it is `needed` after what was told before."""
        self._subject, self._open = subject, dict[str, Tracker]()
        self._file = subject.folder / f"{subject.stage}.trackers.json"
        self._kept = _read(self._file)
        for name in subject.request.settings.trackers:
            if needed(self._kept.setdefault(name, Kept())):
                self._safely(name, self._begin)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Tell the numbers of an epoch, counted from 1; once, where an interrupted stage repeats it."""

        def tell(name: str) -> None:
            if number > self._kept[name].epochs:
                self._open[name].epoch(number, metrics)
                self._keep(name, epochs=number)

        self._each(tell)

    def scores(self, scores: Mapping[str, float]) -> None:
        """Tell the scores of a whole run."""

        def tell(name: str) -> None:
            self._open[name].scores(scores)
            self._keep(name, scores=digest(scores))

        self._each(tell)

    def page(self, path: Path) -> None:
        """Tell of the report of a whole run."""

        def tell(name: str) -> None:
            self._open[name].page(path)
            self._keep(name)

        self._each(tell)

    def close(self, *, failed: bool = False) -> None:
        """End what is open."""
        self._each(lambda name: self._open[name].close(failed=failed))
        self._open.clear()

    def _begin(self, name: str) -> None:
        self._open[name] = tracker = CLASSES[name](self._subject, self._kept[name])
        print(f"{self._subject.label}: tracked by {name}, {masked(tracker.place)}", flush=True)

    def _keep(self, name: str, **changes: Any) -> None:
        """Write what a later process must know, once a tracker was told anything: settings may change before."""
        self._kept[name] = replace(self._kept[name], id=self._open[name].id, **changes)
        write_json(self._file, {name: asdict(kept) for name, kept in self._kept.items() if kept.id})

    def _each(self, tell: Callable[[str], None]) -> None:
        for name in list(self._open):
            self._safely(name, tell)

    def _safely(self, name: str, action: Callable[[str], None]) -> None:
        try:
            with undisturbed():
                action(name)
        except Exception as error:  # a library may raise anything
            if tracker := self._open.pop(name, None):
                with suppress(Exception):
                    tracker.close(failed=True)
            why = masked(next(iter(str(error).splitlines()), ""))[:200]
            tqdm.write(
                f"warning: {self._subject.label}: {name} fails ({type(error).__name__}: {printable(why)}): the run"
                " goes on without it",
                file=sys.stderr,
            )


def track_scores(request: Request) -> None:
    """Tell the trackers of a run what it scores, where they were not told before."""
    if not request.settings.trackers:
        return
    table = read_result(request.run_folder / "scores.json")
    scores = dict[str, float]()
    for kind in ("cross_fitted", "raw"):
        pooled = table[kind][POOLED]
        scores |= {kind: pooled["score"], f"{kind}_standard_error": pooled["standard_error"]}
    trackers = Trackers(Subject(request, "ensemble"), lambda kept: kept.scores != digest(scores))
    trackers.scores(scores)
    trackers.close()


def track_page(request: Request, path: Path) -> None:
    """Tell the trackers of a run of its report, a file of HTML."""
    trackers = Trackers(Subject(request, "ensemble"))
    trackers.page(path)
    trackers.close()


def _read(path: Path) -> dict[str, Kept]:
    """Return what the trackers were told by name; nothing where that is not known."""
    with suppress(UserError, TypeError):
        return {name: Kept(**kept) for name, kept in read_json(path).items()}
    return {}
