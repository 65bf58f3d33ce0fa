"""Errors of the user: every command reports one in one line that names the cure, and ends with exit status 2."""

import io
import sys
from collections.abc import Callable, Sequence


class UserError(Exception):
    """An error that the user can fix. Its message is one line that names the file, row or setting, and the cure."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # quoted names may hold line breaks


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
