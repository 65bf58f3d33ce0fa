"""One error, one line, one fix: how every command ends when something is wrong."""

import sys
from collections.abc import Callable, Sequence


class UserError(Exception):
    """Something the user can mend. The message names the file, row or setting, and the cure, in one line."""

    def __init__(self, message: str) -> None:
        super().__init__(" ".join(message.splitlines()))  # names that it quotes may hold line breaks


def run_stage(main: Callable[[Sequence[str] | None], None]) -> None:
    """Run a stage's `main` as a command: a `UserError` becomes one line on stderr and exit status 2."""
    try:
        main(None)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("interrupted: the same command, without --force, goes on from what is finished", file=sys.stderr)
        sys.exit(130)
