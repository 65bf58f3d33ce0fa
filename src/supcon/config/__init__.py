"""Settings: their definition (`settings`), the command line (`parse`) and their checks (`check`)."""

from supcon.config.parse import Call, parse
from supcon.config.settings import Settings

__all__ = ["Call", "Settings", "parse"]
