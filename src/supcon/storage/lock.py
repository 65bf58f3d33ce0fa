"""One process at a time in a place, on one machine or on several that share the folder.

Two things tell who is there. The system's lock (flock) ends with its holder, however that ends. NFS clients (since
Linux 2.6.12) and SMB clients (since 5.5) hand it on to the server, but not where the share is mounted with `nolock` or
`local_lock`, and some file systems have no locks at all. So the holder also keeps a mark beside the lock, with its host
and process, and renews it: the mark of another machine counts until it has not been renewed for `STALE` seconds, by the
file server's clock. It is a file of its own because SMB lets nobody else read a locked one.
"""

import atexit
import errno
import fcntl
import os
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from supcon.errors import UserError
from supcon.storage.processes import HOST

BEAT, STALE = 10.0, 60.0  # seconds: a mark is renewed this often, and counts for so long
POLL = 1.0  # seconds between two looks at a lock that is waited for
_SETTLE = 1.0  # seconds after which two that took over the same stale mark know whose it is
_ANOTHERS = (errno.EWOULDBLOCK, errno.EACCES)  # what flock says of a lock that is taken; else there are no locks here


@dataclass(frozen=True)
class _Held:
    what: str
    descriptor: int
    mark: Path
    content: str  # of the mark


_held: dict[Path, _Held] = {}  # by lock: this process may take its own again


def take(path: Path, what: str) -> None:
    """Take the lock at `path`; while another process has it, say once who is at `what`, and wait."""
    if holder := try_take(path, what):
        print(f"{what} is being worked on by {holder}: waiting for it", flush=True)
        while try_take(path, what):
            time.sleep(POLL)


def try_take(path: Path, what: str) -> str:
    """Take the lock at `path` and return "", or return who has it. Raises `UserError` where it cannot be written."""
    if path in _held:
        return ""
    mark, content = _mark_of(path), f"{HOST} {os.getpid()} {_kernel()}\n"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        if _is_taken(descriptor, mark, fcntl.LOCK_EX) or not _make_mark(mark, content):
            os.close(descriptor)
            return _name_in(mark)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from error
    _held[path] = _Held(what, descriptor, mark, content)
    _start_beating()
    return ""


def holder_of(path: Path) -> str:
    """Return which other process has the lock at `path`; "" for none."""
    if path in _held:
        return ""
    try:
        descriptor = os.open(path, os.O_RDWR)
    except OSError:
        return ""
    try:
        return _name_in(_mark_of(path)) if _is_taken(descriptor, _mark_of(path), fcntl.LOCK_SH) else ""
    finally:
        os.close(descriptor)


def release(path: Path) -> None:
    """Give the lock at `path` back, if this process holds it."""
    held = _held.pop(path, None)
    if held is not None:
        with suppress(OSError):
            held.mark.unlink()
        with suppress(OSError):
            fcntl.flock(held.descriptor, fcntl.LOCK_UN)  # closing is not enough while a worker process holds it too
        os.close(held.descriptor)  # the file stays: unlinking it would let two others each hold one of that name


@atexit.register
def release_all() -> None:
    """Give back every lock that this process holds."""
    for path in list(_held):
        release(path)


@contextmanager
def alone(path: Path, what: str) -> Iterator[None]:
    """Hold the lock at `path`, for which others are waited for."""
    take(path, what)
    try:
        yield
    finally:
        release(path)


def _mark_of(path: Path) -> Path:
    return path.with_name(f"{path.name}-holder")


def _is_taken(descriptor: int, mark: Path, kind: int) -> bool:
    """Say whether another holds the lock. If not, the system's is now this process's, where the folder has such."""
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
        locked = True
    except OSError as error:
        if error.errno in _ANOTHERS:
            return True
        locked = False
    try:
        with mark.open(encoding="utf-8") as file:  # opened: a network folder's answer may be old otherwise
            kernel, renewed = file.read().split()[2:], os.fstat(file.fileno()).st_mtime
    except OSError:
        return False
    if locked and kernel == [_kernel()]:
        return False  # left by a killed one: alive it would have the system's lock, which ends at this machine at least
    os.utime(descriptor)  # to now, by the clock that marks are renewed by
    return os.fstat(descriptor).st_mtime - renewed < STALE


def _make_mark(mark: Path, content: str) -> bool:
    """Make the mark, in place of one that no longer counts; False where another was faster."""
    try:
        taken_over = mark.read_text(encoding="utf-8").split()[2:] not in ([], [_kernel()])
    except OSError:
        taken_over = False
    mark.unlink(missing_ok=True)
    try:
        with mark.open("x", encoding="utf-8") as file:
            file.write(content)
    except FileExistsError:
        return False
    if taken_over:  # another machine may have judged the same mark, and unlinked this one
        time.sleep(_SETTLE)
        return mark.read_text(encoding="utf-8") == content
    return True


def _name_in(mark: Path) -> str:
    try:
        host, process, _ = mark.read_text(encoding="utf-8").split()
    except (OSError, ValueError):  # just made, or just gone
        return "another process"
    return f"{host}, process {process}"


@cache
def _kernel() -> str:
    """Return what tells one machine's kernel, since its start, from all others: within it the system's lock holds."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return f"{uuid.getnode():x}"


@cache
def _start_beating() -> None:
    threading.Thread(target=_beat, daemon=True).start()


def _beat() -> None:
    """Renew the marks of this process. End it where another machine has taken one over: two would do the same work."""
    while True:
        time.sleep(BEAT)
        for path, held in list(_held.items()):
            with suppress(OSError):  # out of reach for now, or just given back
                content = held.mark.read_text(encoding="utf-8")
                if content not in ("", held.content) and path in _held:
                    gone = f"{held.what} was taken over by {_name_in(held.mark)}, as this process gave no sign of life"
                    print(f"error: {gone} for {STALE:.0f} s: start it again", file=sys.stderr, flush=True)
                    os._exit(2)
                os.utime(held.mark)
