"""One process at a time in a place, by the system's lock (flock): it ends with its holder, however that ends.

It holds among the processes of one machine. Where a file system has no locks, nobody is kept out.
"""

import atexit
import errno
import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from supcon.errors import UserError
from supcon.storage.processes import MACHINE

POLL = 1.0  # seconds between two looks at a lock that is waited for

_held: dict[Path, int] = {}  # descriptors, by lock: this process may take its own again


def take(path: Path, what: str) -> None:
    """Take the lock at `path`; while another process has it, say once who is at `what`, and wait."""
    if holder := try_take(path):
        print(f"{what} is being worked on by {holder}: waiting for it", flush=True)
        while try_take(path):
            time.sleep(POLL)


def try_take(path: Path) -> str:
    """Take the lock at `path` and return "", or return who has it. Raises `UserError` where it cannot be written."""
    if path in _held:
        return ""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if holder := _taken_by(descriptor):
            os.close(descriptor)
            return holder
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{MACHINE}, process {os.getpid()}".encode())
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from error
    _held[path] = descriptor
    return ""


def release(path: Path) -> None:
    """Give the lock at `path` back, if this process holds it."""
    descriptor = _held.pop(path, None)
    if descriptor is not None:
        with suppress(OSError):
            os.ftruncate(descriptor, 0)  # who had it is no longer told
            fcntl.flock(descriptor, fcntl.LOCK_UN)  # closing is not enough while a worker process holds it too
        os.close(descriptor)  # the file stays: unlinking it would let two others each hold one of that name


@atexit.register
def release_all() -> None:
    """Give back every lock that this process holds."""
    for path in list(_held):
        release(path)


@contextmanager
def given_back() -> Iterator[None]:
    """Give back in the end what is taken within and still held."""
    before = set(_held)
    try:
        yield
    finally:
        for path in _held.keys() - before:
            release(path)


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock at `path`, for which others are waited for."""
    take(path, what)
    try:
        yield
    finally:
        release(path)


def _taken_by(descriptor: int) -> str:
    """Take the lock of an open file and return "", or return who has it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):  # any other says that there are no locks here
            return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"
    return ""
