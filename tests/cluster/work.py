"""What tasks do in tests: functions that a process of Ray's can import."""

import os
import signal
import sys
import time
from pathlib import Path

from supcon.errors import UserError
from supcon.storage import lock


def told(folder: Path, name: str, at_once: int = 1) -> dict[str, str | None]:
    """Return what this process was given, once `at_once` tasks have begun."""
    (folder / f"{name}.begun").touch()
    until = time.time() + 60
    while len(list(folder.glob("*.begun"))) < at_once and time.time() < until:
        time.sleep(0.02)
    print("on stdout")
    print("on stderr", file=sys.stderr)
    os.system("echo of another program")
    given = {name: os.environ.get(name) for name in ("SUPCON_CORES", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")}
    return given | {"process": str(os.getpid())}


def fail(message: str, path: Path) -> None:
    """End as a user's error does, and count how often; hold a lock meanwhile."""
    with path.open("a") as file:
        file.write("x")
    lock.try_take(path.with_suffix(".lock"))
    raise UserError(message)


def break_down() -> None:
    """End as a defect does."""
    raise ZeroDivisionError("by nothing\nat all")


def die(path: Path, times: int) -> int:
    """Be killed so many times, then return how often this was tried."""
    with path.open("a") as file:
        file.write("x")
    if len(path.read_text()) <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return len(path.read_text())


def slow(seconds: float, path: Path) -> None:
    """Work for some seconds; write when it was."""
    started = time.time()
    time.sleep(seconds)
    with path.open("a") as file:
        file.write(f"{started} {time.time()} {os.getpid()}\n")


def add(first: list[int], number: int) -> int:
    """Return the sum of all; refuse negative ones."""
    if number < 0:
        raise UserError(f"{number} is below 0")
    return sum(first) + number
