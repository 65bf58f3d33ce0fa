"""Settings: their definition (`settings`), their `sources`, the command line (`parse`) and their checks (`check`)."""

from supcon.settings.parse import FULL, Call, command_of, fold_name, parse
from supcon.settings.settings import Settings

__all__ = ["FULL", "Call", "Settings", "command_of", "fold_name", "parse"]
