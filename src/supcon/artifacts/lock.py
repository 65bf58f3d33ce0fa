"""One process at a time in a place: a lock that the system releases when its holder ends, however it ends."""

import fcntl
import os
from pathlib import Path

from supcon.errors import UserError

_held: dict[Path, int] = {}  # file descriptors by path: this process may take its own lock again


def take(path: Path, what: str) -> None:
    """Take the lock at `path`, or raise `UserError` saying that another process is at `what`."""
    if path in _held:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        holder = os.read(descriptor, 64).decode(errors="replace").strip() or "unknown"
        os.close(descriptor)
        raise UserError(
            f"{what} is being worked on by process {holder}: wait for it, end it, or use another --run"
        ) from None
    os.truncate(descriptor, 0)
    os.write(descriptor, f"{os.getpid()}\n".encode())
    _held[path] = descriptor


def release(path: Path) -> None:
    """Give the lock at `path` back, if this process holds it."""
    descriptor = _held.pop(path, None)
    if descriptor is not None:
        os.close(descriptor)  # the file stays: unlinking it would let two others each hold one of that name


def wait(path: Path) -> None:
    """Take the lock at `path`, once its holder gives it up. Raises `UserError` where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _held[path] = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        fcntl.flock(_held[path], fcntl.LOCK_EX)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from error
