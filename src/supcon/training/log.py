"""The log of a training stage: a bar on a terminal, one line an epoch, a CSV file, TensorBoard where installed."""

import importlib.util
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import pandas as pd
from tqdm import tqdm

from supcon.errors import UserError
from supcon.run.stage import StageRun
from supcon.storage.files import write_csv
from supcon.training.ranks import is_first

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter
Row = dict[str, float]
Item = TypeVar("Item")


class EpochLog:
    """The epochs of one stage, printed as they end and kept in STAGE.csv of its folder. The first process writes it."""

    def __init__(self, stage: StageRun, epochs: int) -> None:
        self._label, self._epochs = stage.label, epochs
        self._csv_file = stage.folder / f"{stage.name}.csv"
        self._events = stage.folder / "tensorboard" / stage.name
        self.rows: list[Row] = []
        self._tensorboard: SummaryWriter | None = None

    def restore(self, rows: Sequence[Row]) -> None:
        """Take over the epochs of an interrupted run."""
        self.rows = list(rows)
        print(f"{self._label}: goes on after epoch {len(rows)} of {self._epochs}", flush=True)

    def add(self, metrics: Mapping[str, float]) -> None:
        """Add one epoch: print it and write the table."""
        self.rows.append({"epoch": len(self.rows) + 1, **metrics})
        if not is_first():
            return
        shown = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        tqdm.write(f"{self._label}  epoch {len(self.rows)}/{self._epochs}  {shown}")
        write_csv(self._csv_file, pd.DataFrame(self.rows))

        if self._tensorboard is not None:
            with self._named():
                for name, value in metrics.items():
                    self._tensorboard.add_scalar(name, value, len(self.rows))
                self._tensorboard.flush()

    def open(self) -> None:
        """Open TensorBoard, after `restore`: epochs that an interrupted run wrote after its checkpoint are purged."""
        if is_first() and importlib.util.find_spec("tensorboard") is not None:
            os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
            from torch.utils.tensorboard import SummaryWriter

            with self._named():
                self._tensorboard = SummaryWriter(str(self._events), purge_step=len(self.rows) + 1)

    def close(self) -> None:
        """Close TensorBoard."""
        if self._tensorboard is not None:
            with self._named():
                self._tensorboard.close()

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"{self._events} could not be written: {error.strerror or error}") from error


def bar(items: Iterable[Item], label: str, total: int | None = None) -> Iterator[Item]:
    """Iterate with a progress bar and the time left; without a bar where stderr is no terminal, or on a later rank."""
    disable = None if is_first() else True
    return iter(tqdm(items, label, total, leave=False, disable=disable, dynamic_ncols=True))
