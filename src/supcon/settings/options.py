"""The command line of what is no stage: a few options of its own, errors in one line."""

import argparse
from typing import NoReturn

from supcon.errors import UserError
from supcon.settings.parse import absolute
from supcon.settings.sources import REPOSITORY


class OptionsParser(argparse.ArgumentParser):
    """An argument parser whose errors are a `UserError`, with `--root` and without abbreviations."""

    def __init__(self, description: str | None, epilog: str = "") -> None:
        super().__init__(description=description, epilog=epilog, allow_abbrev=False)
        self.add_argument(
            "--root",
            metavar="DIR",
            type=lambda folder: absolute("--root", folder),
            default=REPOSITORY,
            help="holds input/, runs/, ... (default: the repository)",
        )

    def error(self, message: str) -> NoReturn:
        """Raise `UserError`."""
        raise UserError(f"{message} (--help lists every option)")
