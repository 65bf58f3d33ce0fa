"""How a command ends: an error is one line that names the cure, and so is a signal, or a limit of the machine."""

from __future__ import annotations  # any interpreter reads this, to hand over to the one in .venv

import errno
import io
import math
import os
import re
import resource
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from types import FrameType, TracebackType
from typing import Any, NoReturn, TextIO, cast

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")  # all but tab and line feed

_LIMITS = {  # by the number of the system's error
    errno.EMFILE: "too many open files: raise the limit (ulimit -n 4096)",
    errno.ENFILE: "too many open files on this machine: close some",
    errno.EAGAIN: "no more processes or threads can be started: raise the limit (ulimit -u; docker's --pids-limit)",
    errno.ENOMEM: "not enough memory: free some, raise the limit (ulimit -v; docker's --memory), or lower the batch",
    errno.ENOSPC: "the disk is full: make room",
    errno.EFBIG: "a file would grow past the limit: raise it (ulimit -f)",
    errno.EDQUOT: "the quota of the disk is used up: make room",
}
KILLED_LOADER = (
    "a loader process was killed, most likely for want of memory (docker's --memory, --shm-size): start again with"
    " more, or with fewer --machine.workers"
)
_WORDS = {  # of errors without a number
    "Too many open files": errno.EMFILE,
    "can't start new thread|Resource temporarily unavailable": errno.EAGAIN,
    "failed to map segment|[Cc](annot|an't) allocate memory|out of memory|bad_alloc": errno.ENOMEM,
    "No space left on device": errno.ENOSPC,
}

_LOGIN = re.compile(r"://[^\s\"'<>]*@")  # to the last @ of a word: passwords hold all kinds of characters
_SECRET = re.compile(r"([?&](?:[\w.-]*(?:pass|pwd|secret|token|key)[\w.-]*)=)[^\s&\"'<>]+", re.IGNORECASE)
_OF_WORKER = re.compile(r"Caught UserError in .*\bUserError: ", re.DOTALL)  # before a message from torch's workers


_raised: list[int] = []  # signals that became exceptions


class UserError(Exception):
    """An error that the user can fix. Its message is one line that names the file, row or setting, and the cure."""

    def __init__(self, message: str) -> None:
        message = _OF_WORKER.sub("", message)
        super().__init__(masked(one_line(message)))


def masked(text: str) -> str:
    """Return `text` with who logs in, and secrets asked for by name, hidden in its addresses, such as a database's."""
    return _SECRET.sub(r"\1***", _LOGIN.sub("://***@", text))


class Interrupted(KeyboardInterrupt):
    """The signal `number` came."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


def run_stage(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a stage's `main` as a command, which ends with a status.

    2 and a line on stderr for what `told` knows; 128 + number and a line for Ctrl-C, SIGTERM and SIGHUP; 141 where
    nobody reads what it prints.
    """
    begin_command()
    settle_output()
    try:
        main(None)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt as error:
        _end(getattr(error, "number", (_raised or [signal.SIGINT])[-1]))  # Ray raises a plain one for any of them
    except Exception as error:
        known = told(error)
        if known is None:
            raise
        tell(known)
        sys.exit(2)


def told(error: BaseException) -> UserError | None:
    """Return an error as one line where it is no defect: the user's, or the machine's."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, OSError) and error.filename and error.errno not in _LIMITS:
        return UserError(f"{error.filename} cannot be read or written: {error.strerror}")
    return limit(error)


def limit(error: BaseException) -> UserError | None:
    """Return an error as one line where it comes of a limit of the machine, or of a worker process that it ended."""
    seen: BaseException | None = error
    while seen is not None:  # a library may raise its own for it
        if line := _killed_worker(seen) or _limit(seen):
            return UserError(line)
        seen = seen.__cause__ or (None if seen.__suppress_context__ else seen.__context__)
    return None


def _killed_worker(error: BaseException) -> str:
    words = str(error)
    if type(error).__name__ == "BrokenProcessPool":
        return "a worker process was killed, most likely for want of memory: start again with more memory"
    return KILLED_LOADER if re.match(r"DataLoader worker .*(is killed|exited)|Pin memory thread exited", words) else ""


def _limit(error: BaseException) -> str:
    """Return which limit of the machine an error is about, with its own words; empty for none."""
    words = " ".join(str(error).split())[:200]
    wordless = isinstance(error, SystemError) or "could not create a primitive" in words  # of oneDNN, for any reason
    starved = isinstance(error, MemoryError) or wordless and _memory_left() < math.inf
    number = errno.ENOMEM if starved else getattr(error, "errno", None)
    if number is None and isinstance(error, RuntimeError | ImportError | OSError):
        number = next((number for pattern, number in _WORDS.items() if re.search(pattern, words)), None)
    return f"{_LIMITS[number]}{f' ({words})' if words else ''}" if number in _LIMITS else ""


def need_memory(wanted: int, what: str) -> None:
    """Raise `UserError` where `ulimit -v` leaves this process less than `wanted` bytes for `what`."""
    if (left := _memory_left()) < wanted:
        raise UserError(f"{_LIMITS[errno.ENOMEM]} ({left / 1e6:.0f} MB left, {what} takes {wanted / 1e6:.0f})")


def _memory_left() -> float:
    """Return the bytes that `ulimit -v` leaves this process: some libraries fail there without a word on why."""
    most = resource.getrlimit(resource.RLIMIT_AS)[0]
    if most == resource.RLIM_INFINITY or not os.path.exists("/proc/self/statm"):
        return math.inf
    with open("/proc/self/statm") as pages:
        return most - int(pages.read().split()[0]) * resource.getpagesize()


def _tell_uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if known := told(error):
        tell(known)
        os._exit(2)
    sys.__excepthook__(kind, error, trace)


def _tell_in_thread(args: threading.ExceptHookArgs) -> None:
    error = args.exc_value  # the main thread tells of limits, and of a loader process that was killed
    if error is None or not (isinstance(error, EOFError | ConnectionError) or limit(error)):
        threading.__excepthook__(args)


def tell(error: UserError) -> None:
    """Print the one line of an error on stderr."""
    with suppress(OSError):  # nobody reads it
        print(f"error: {printable(str(error))}", file=sys.stderr, flush=True)


def begin_command() -> None:
    """Let Ctrl-C, SIGTERM and SIGHUP end this process in one line, with status 128 + number.

    At once, as a kill does (law 5), and not by an exception: libraries swallow those, print them from their imports, or
    abort where one comes out of their C++. From here on, what `told` knows is told for imports too.
    """
    sys.excepthook = _tell_uncaught
    if "TORCHELASTIC_RUN_ID" not in os.environ:  # of several processes the one that started them speaks
        own = os.getpid()
        _hear(lambda number, _: _end(number) if os.getpid() == own else os._exit(128 + number))


@contextmanager
def raised_signals() -> Iterator[None]:
    """Let signals raise `Interrupted` within, where something must be said or tidied up."""
    before = _hear(_raise)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _raise(number: int, _: FrameType | None) -> NoReturn:
    _raised.append(number)
    raise Interrupted(number)


def _hear(handler: Callable[[int, FrameType | None], object]) -> dict[int, Any]:
    """Let `handler` hear the signals, but those that nohup or a shell's "&" lets be ignored; return what did before."""
    heard = [number for number in _SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
    return {number: signal.signal(number, handler) for number in heard}


def _end(number: int) -> NoReturn:
    how = "interrupted" if number == signal.SIGINT else f"ended by {signal.Signals(number).name}"
    over_bar = "\r\x1b[K" if os.isatty(2) else ""
    line = f"{over_bar}{how}: the same command, without --force, goes on from what is finished"
    with suppress(BaseException):
        sys.stdout.flush()
    with suppress(OSError):
        os.write(2, f"{line}\n".encode())
    os._exit(128 + number)


def one_line(text: str) -> str:
    """Return text without its line breaks, which the host's names may hold."""
    return " ".join(text.splitlines())


def printable(text: str) -> str:
    """Return text with its control characters as escapes: a terminal would obey those in the host's names."""
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def settle_output() -> None:
    """Let all that is printed be `printable`, and no thread print a limit of the machine that stops it.

    What the encoding of the output (a locale's, PYTHONIOENCODING's) lacks is printed as an escape.
    """
    threading.excepthook = _tell_in_thread
    if sys.stdout is not None and not isinstance(sys.stdout, _Output):
        if isinstance(sys.stdout, io.TextIOWrapper):
            sys.stdout.reconfigure(errors="backslashreplace")
        sys.stdout = cast(TextIO, _Output(sys.stdout))


class _Output:
    """Standard output without control characters, which ends the command where it cannot be written."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._named():
            return self._stream.write(printable(text))

    def flush(self) -> None:
        with self._named():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())  # for what is left in its buffer
            if error.errno == errno.EPIPE:
                sys.exit(128 + signal.SIGPIPE)  # as programs end whose reader has seen enough
            raise UserError(f"what this command prints cannot be written: {error.strerror}") from None
