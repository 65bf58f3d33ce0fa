"""Worker processes that leave the interrupt to their parent, die with it and are quiet."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import Any

CORES = "SUPCON_CORES"  # the share of a process beside others, as an environment variable
HOST = os.uname().nodename


def available_cores() -> int:
    """Return the number of cores that this process may use: its share, where it is one of several side by side."""
    if share := os.environ.get(CORES):
        return int(share)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_pool(processes: int, start: Callable[..., object] | None = None, *arguments: Any) -> ProcessPoolExecutor:
    """Return a pool of which each process begins with `start(*arguments)`."""
    return ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(start, *arguments))


def _start_worker(start: Callable[..., object] | None, *arguments: Any) -> None:
    """Leave the interrupt to the parent, die with it, and keep the remarks of C libraries from the screen."""
    if start is not None:
        start(*arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)


def end_with_parent() -> None:
    """Let this process, which multiprocessing started, end when its parent does, however that ends."""
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent ends, however it ends
        os._exit(1)
