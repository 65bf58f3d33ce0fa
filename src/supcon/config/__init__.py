"""Settings: their definition (`settings`), their `sources`, the command line (`parse`) and their checks (`check`)."""

from supcon.config.parse import FULL, Call, fold_name, parse
from supcon.config.settings import Settings

__all__ = ["FULL", "Call", "Settings", "fold_name", "parse"]
