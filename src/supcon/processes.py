"""Worker processes that leave the interrupt to their parent, die with it and are quiet."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any


def available_cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0))


def worker_pool(processes: int, start: Callable[..., object] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """Return a pool of which each process begins with `start(*arguments)`."""
    return ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(start, *arguments))


def _start_worker(start: Callable[..., object] | None, *arguments: Any) -> None:
    """Leave the interrupt to the parent, die with it, and keep the remarks of C libraries from the screen."""
    if start is not None:
        start(*arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def _die_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent ends, however it ends
        os._exit(1)
