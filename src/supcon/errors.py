"""Errors of the user: every command reports one in one line that names the cure, and ends with exit status 2."""

import io
import re
import sys
from collections.abc import Callable, Sequence

_LOGIN = re.compile(r"://[^\s\"'<>]*@")  # to the last @ of a word: passwords hold all kinds of characters
_SECRET = re.compile(r"([?&](?:[\w.-]*(?:pass|pwd|secret|token|key)[\w.-]*)=)[^\s&\"'<>]+", re.IGNORECASE)
_OF_WORKER = re.compile(r"Caught UserError in .*\bUserError: ", re.DOTALL)  # before a message from torch's workers


class UserError(Exception):
    """An error that the user can fix. Its message is one line that names the file, row or setting, and the cure."""

    def __init__(self, message: str) -> None:
        message = _OF_WORKER.sub("", message)
        super().__init__(masked(" ".join(message.splitlines())))  # quoted names may hold line breaks


def masked(text: str) -> str:
    """Return `text` with who logs in, and secrets asked for by name, hidden in its addresses, such as a database's."""
    return _SECRET.sub(r"\1***", _LOGIN.sub("://***@", text))


def print_anything() -> None:
    """Let stdout and stderr take any text: a character that their encoding lacks is written as \\u00e9, say."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # no notebook's, or a test's
            stream.reconfigure(errors="backslashreplace")


def run_stage(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a stage's `main` as a command: a `UserError` becomes one line on stderr and exit status 2, Ctrl-C 130."""
    print_anything()
    try:
        main(None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: the same command, without --force, goes on from what is finished", file=sys.stderr)
        sys.exit(130)
