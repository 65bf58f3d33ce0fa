"""The log of a training stage: a bar on a terminal, one line an epoch, a CSV file, and the trackers of `--track`."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

import pandas as pd
from tqdm import tqdm

from supcon.run.stage import StageRun
from supcon.storage.files import write_csv
from supcon.tracking import Subject, Trackers
from supcon.training.ranks import is_first

Row = dict[str, float]
Item = TypeVar("Item")


class EpochLog:
    """The epochs of one stage, printed as they end and kept in STAGE.csv of its folder. The first process writes it."""

    def __init__(self, stage: StageRun, epochs: int) -> None:
        self._label, self._epochs = stage.label, epochs
        self._csv_file = stage.folder / f"{stage.name}.csv"
        self._subject = Subject(stage.request, stage.name, stage.fold)
        self._trackers: Trackers | None = None
        self.rows: list[Row] = []

    def restore(self, rows: Sequence[Row]) -> None:
        """Take over the epochs of an interrupted run."""
        self.rows = list(rows)
        print(f"{self._label}: goes on after epoch {len(rows)} of {self._epochs}", flush=True)

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add one epoch: print it, write the table, tell the trackers."""
        self.rows.append({"epoch": len(self.rows) + 1, **metrics})
        if not is_first():
            return
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        tqdm.write(f"{self._label}  epoch {len(self.rows)}/{self._epochs}  {shown}")
        write_csv(self._csv_file, pd.DataFrame(self.rows))
        if self._trackers is not None:
            self._trackers.epoch(len(self.rows), metrics)

    @contextmanager
    def tracked(self) -> Iterator[None]:
        """Let trackers follow the epochs that are added within."""
        if not is_first():
            yield
            return
        self._trackers, failed = Trackers(self._subject), True
        try:
            yield
            failed = False
        finally:
            self._trackers.close(failed=failed)


def bar(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar and the time left; without a bar where stderr is no terminal, or on a later rank."""
    disable = None if is_first() else True
    return iter(tqdm(items, label, total, leave=False, disable=disable, dynamic_ncols=True))
