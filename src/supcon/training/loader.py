"""Batches from worker processes: as many as the machine can feed, and a line where it cannot feed those asked for.

A batch goes from a worker to this process in /dev/shm, and how to open it over a socket in TMPDIR.
"""

import copy
import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from functools import cache
from multiprocessing.context import BaseContext
from multiprocessing.queues import Queue
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import torch
from torch._utils import ExceptionWrapper
from torch.utils.data import DataLoader, Dataset

from supcon.errors import KILLED_LOADER, UserError, limit
from supcon.storage.processes import available_cores, require_tasks, settle_worker, side_by_side, starting_processes
from supcon.storage.sizes import bytes_text
from supcon.training.sampler import BatchSampler

Item = TypeVar("Item")

SHARED = Path("/dev/shm")  # where there is none, as on a Mac, shared memory has no size of its own
_AHEAD = 2  # batches that each worker has in work: torch's default
_IN_USE = 2  # batches beside those: the one that is trained on, and the one that comes next
_BESIDE = 2**16  # bytes of a batch beside its images, at most: each tensor takes whole pages
_TASKS = 4  # threads of a worker: its own, those that send what it has made, the one that waits for its parent's end
_SOCKET = 104 - len("/pymp-12345678/listener-12345678") - 1  # the longest TMPDIR below which a socket has a name


def training_loader(dataset: Dataset[Item], sampler: BatchSampler, workers: int) -> "DataLoader[Item]":
    """Return a loader of the sampler's batches; its worker processes live as long as it does."""
    workers = _workers_that_fit(dataset, sampler.largest, len(sampler), workers)
    return _Loader(dataset, batch_sampler=sampler, **_options(workers))


def fixed_loader(dataset: Dataset[Any], batch_size: int, workers: int) -> "DataLoader[Any]":
    """Return a loader of all rows in order, in batches of views [B, V, side, side, 3]."""
    rows = len(dataset)  # type: ignore[arg-type]  # a `Dataset` need not have a length
    workers = _workers_that_fit(dataset, min(rows, batch_size), -(-rows // batch_size), workers)
    return _Loader(dataset, batch_size=batch_size, **_options(workers))


def worker_count(setting: int, processes: int = 1) -> int:
    """Return the number of worker processes that `machine.workers` asks for, where `processes` share the cores.

    With a single core that trains as well there are none: a worker would only take turns with the training.
    """
    if setting >= 0:
        return setting
    cores = available_cores() // processes
    return max(1, cores) if cores > 1 or torch.cuda.is_available() else 0


def _workers_that_fit(dataset: Dataset[Any], rows: int, batches: int, wanted: int) -> int:
    """Return how many workers can send batches of `rows`, at most `wanted`; say so where that is fewer.

    Several processes that run side by side share /dev/shm. `dataset.row_bytes` tells a row's bytes.
    """
    if wanted == 0:
        return 0
    folder = tempfile.gettempdir()
    if len(os.fsencode(folder)) > _SOCKET:
        _say(f"no loader processes: TMPDIR {folder} is too long a path: at most {_SOCKET} characters")
        return 0
    free = shutil.disk_usage(SHARED).free // side_by_side() if SHARED.is_dir() else None
    batch = rows * getattr(dataset, "row_bytes", 0) + _BESIDE

    def needed(workers: int) -> int:
        return min(workers * _AHEAD + _IN_USE, batches + 1) * batch

    fitting = next((workers for workers in range(wanted, 0, -1) if free is None or needed(workers) <= free), 0)
    if fitting < wanted:
        _say(
            f"{fitting or 'no'} loader processes: {SHARED} has {bytes_text(free or 0)} free, {wanted} would need"
            f" {bytes_text(needed(wanted))} (docker enlarges it by --shm-size; or lower the batch)"
        )
    return fitting


class _Loader(DataLoader[Item]):
    """A loader that goes on without processes where they cannot be started, and says so; a killed one ends it."""

    _started = False

    def __iter__(self) -> Iterator[Item]:  # type: ignore[override]
        try:
            yield from self._begin()
        except (EOFError, ConnectionError) as error:  # of a process that ended while its batch was fetched
            raise UserError(KILLED_LOADER) if self.num_workers else error from None

    def _begin(self) -> Iterator[Item]:
        if self._started or not self.num_workers:
            return super().__iter__()
        handler = signal.getsignal(signal.SIGCHLD)
        try:
            require_tasks(_TASKS * self.num_workers)
            with starting_processes():
                batches = super().__iter__()
            self._started = True
            return batches
        except UserError as error:
            _say(f"no loader processes: {error}")
            self.num_workers = 0
            return super().__iter__()
        finally:
            # torch's handler raises wherever this process is, such as in the middle of a file; what waits for a batch
            # looks after the processes itself
            signal.signal(signal.SIGCHLD, handler)


@cache  # several loaders have the same reason
def _say(line: str) -> None:
    print(line, flush=True)


def _options(workers: int) -> dict[str, Any]:
    return {
        "generator": torch.Generator(),  # a loader draws from one at every start: never from the model's global stream
        "num_workers": workers,
        "collate_fn": _unchanged,
        "persistent_workers": workers > 0,
        "pin_memory": torch.cuda.is_available(),
        "worker_init_fn": _start_worker,
        "multiprocessing_context": _context() if workers else None,
    }


def _unchanged(batch: Item) -> Item:
    return batch


def _start_worker(worker: int) -> None:
    """Settle the worker.

    That it ends with its parent is not left to torch, whose check misses a parent that ends before the check begins:
    the worker would then keep the parent's locks.
    """
    settle_worker()


def _context() -> BaseContext:
    """Return how this system starts processes, with our queues."""
    context = copy.copy(multiprocessing.get_context())
    context.Queue = lambda: _Queue(ctx=context)  # type: ignore[assignment, method-assign, misc]
    return context


class _Queue(Queue):
    """A queue that sends on why it could not send a batch: Python's prints it, and the reader waits for ever."""

    def _on_queue_feeder_error(self, error: Exception, item: Any) -> None:
        number, _ = item
        self.put((number, _Unsent(error)))


class _Unsent(ExceptionWrapper):
    """In place of a batch, why it could not be sent."""

    def __init__(self, error: Exception) -> None:
        self._reason = str(limit(error) or error)

    def reraise(self) -> NoReturn:
        """Raise it, as torch does when its turn has come."""
        room = f" in {SHARED} (docker's --shm-size)" if "shared memory" in self._reason else ""
        raise UserError(f"a loader process could not send a batch: {self._reason}{room}; or use --machine.workers 0")
