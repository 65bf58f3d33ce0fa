"""Settings: their definition (`settings`, `training`), their sources, their checks, and the command line (`parse`)."""

from supcon.settings.call import FULL, Call, command_of, fold_name
from supcon.settings.parse import command_line, open_call, parse
from supcon.settings.settings import Settings
from supcon.settings.sources import REPOSITORY

__all__ = ["FULL", "REPOSITORY", "Call", "Settings", "command_line", "command_of", "fold_name", "open_call", "parse"]
