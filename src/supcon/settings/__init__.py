"""Settings: their definition (`settings`, `training`), their sources, their checks, and the command line (`parse`)."""

from supcon.settings.parse import command_line, open_request, parse
from supcon.settings.request import FULL, Request, command_of, fold_name
from supcon.settings.settings import Settings
from supcon.settings.sources import REPOSITORY

__all__ = [
    "FULL",
    "REPOSITORY",
    "Request",
    "Settings",
    "command_line",
    "command_of",
    "fold_name",
    "open_request",
    "parse",
]
