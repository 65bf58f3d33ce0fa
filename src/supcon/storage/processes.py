"""This process: its cores, its memory, and those that train a model with it; and worker processes."""

import ctypes
import gc
import multiprocessing
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import TypeVarTuple

from supcon.errors import limit

CORES = "SUPCON_CORES"  # environment variable: the number of cores for one of several processes that run side by side
RENDEZVOUS = "SUPCON_STORE"  # the file where processes that train together, all on one machine, find each other
MACHINE = os.uname().nodename
_SMALL_STACK = 2**18  # bytes
_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes in the unit of getrusage

Arguments = TypeVarTuple("Arguments")


def available_cores() -> int:
    """Return the number of cores that this process may use: its share, where several processes run side by side."""
    return int(os.environ.get(CORES) or _all_cores())


def _all_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def side_by_side() -> int:
    """Return how many processes like this one share the machine: those of a job, or of `--jobs`, this one included."""
    if in_job():
        return on_this_machine()[1]
    return max(1, _all_cores() // available_cores())


def is_running(number: int) -> bool:
    """Say whether this machine has a process of that number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:  # another user's
        return True
    return True


def give_memory_back() -> None:
    """Return freed memory to the system, of which training keeps all for its next step (`set_up_device`)."""
    gc.collect()
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # of glibc alone
        trim(0)


def peak_memory() -> dict[str, int]:
    """Return `peak_memory_mb`, the peak since the start of this process or of its largest child, whichever is more.

    Where this process has used a GPU, `peak_gpu_memory_mb` is the peak of torch's tensors on it. This function does not
    import torch.
    """
    largest = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    peak = {"peak_memory_mb": round(largest * _UNIT / 2**20)}
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        peak["peak_gpu_memory_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return peak


def in_job() -> bool:
    """Say whether torchrun started this process as one of several that train a model together."""
    return "TORCHELASTIC_RUN_ID" in os.environ and int(os.environ.get("WORLD_SIZE", "1")) > 1


def on_this_machine() -> tuple[int, int]:
    """Return this process's number on its machine, from 0, and the number of the job's processes there."""
    return (int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])) if in_job() else (0, 1)


@contextmanager
def worker_pool(
    processes: int, start: Callable[[*Arguments], object] | None = None, *arguments: *Arguments
) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of processes that each call `start(*arguments)` first.

    They ignore Ctrl-C (their parent handles it), end when their parent ends, and print nothing. What has not begun when
    the context ends is not done. Raises `UserError` where one of them is killed, or cannot be started.
    """
    require_tasks(2 * processes + 2 + available_cores())  # theirs, the pool's own, and those of this process's BLAS
    with starting_processes():
        pool = ProcessPoolExecutor(processes, initializer=_start_worker, initargs=(start, *arguments))
        pool.submit(int)  # starts them all
    try:
        yield pool
    except BrokenProcessPool as error:
        raise limit(error) or error from None
    finally:
        pool.shutdown(cancel_futures=True)


def require_tasks(count: int) -> None:
    """Raise `UserError` where so many processes and threads cannot be started: libraries wait for theirs for ever."""
    done, size, started = threading.Event(), threading.stack_size(_SMALL_STACK), list[threading.Thread]()
    try:
        for _ in range(count):
            thread = threading.Thread(target=done.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError as error:
        raise limit(error) or error from None
    finally:
        threading.stack_size(size)
        done.set()
        for thread in started:
            thread.join()


@contextmanager
def starting_processes() -> Iterator[None]:
    """Where a limit of the machine keeps a library from starting all processes that it needs, end those that it did.

    They would be waited for, and wait themselves, for ever. Raises `UserError` then.
    """
    others = set(multiprocessing.active_children())
    try:
        yield
    except Exception as error:
        for process in set(multiprocessing.active_children()) - others:
            process.kill()
        if (line := limit(error)) is None:
            raise
        hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # half-made objects complain as they go
        traceback.clear_frames(error.__traceback__)
        sys.unraisablehook = hook
        raise line from None


def _start_worker(start: Callable[[*Arguments], object] | None, *arguments: *Arguments) -> None:
    if start is not None:
        start(*arguments)
    settle_worker()


def settle_worker() -> None:
    """Let this worker process ignore Ctrl-C, end when its parent ends, and print nothing."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the parent's handler would wait for the end of a library's call
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)  # C libraries print remarks to stderr, and Python what the parent is told as well
    os.close(null)
    end_with_parent()


def end_with_parent() -> None:
    """Let this process, which multiprocessing started, end when its parent ends, even if the parent is killed."""
    threading.Thread(target=_end_after_parent, daemon=True).start()


def _end_after_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # returns when the parent has ended or was killed
        os._exit(1)
