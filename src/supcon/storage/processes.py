"""Worker processes that ignore Ctrl-C (their parent handles it), end when their parent ends, and print nothing."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVarTuple

CORES = "SUPCON_CORES"  # environment variable: the number of cores for one of several processes that run side by side
HOST = os.uname().nodename

Arguments = TypeVarTuple("Arguments")


def available_cores() -> int:
    """Return the number of cores that this process may use: its share, where several processes run side by side."""
    if share := os.environ.get(CORES):
        return int(share)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def worker_pool(
    processes: int, start: Callable[[*Arguments], object] | None = None, *arguments: *Arguments
) -> ProcessPoolExecutor:
    """Return a pool of processes that each call `start(*arguments)` first."""
    return ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(start, *arguments))


def _start_worker(start: Callable[[*Arguments], object] | None, *arguments: *Arguments) -> None:
    if start is not None:
        start(*arguments)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    end_with_parent()
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # C libraries print remarks to stderr
    os.close(null)


def end_with_parent() -> None:
    """Let this process, which multiprocessing started, end when its parent ends, even if the parent is killed."""
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent has ended or was killed
        os._exit(1)
