"""Sizes as people read them, and the size of the memory."""

import os
from contextlib import suppress


def bytes_text(count: float) -> str:
    """Return a number of bytes as people say it: 12 bytes, 130 kB, 63.9 MB, 1.2 GB."""
    if count < 1000:
        return f"{count:.0f} bytes"
    power = next(power for power in (1, 2, 3, 4) if count < 1000 ** (power + 1) or power == 4)
    return f"{count / 1000**power:.3g} {'kMGT'[power - 1]}B"


def memory_text() -> str:
    """Return how much memory is available; how much there is, where the system tells no more (a Mac)."""
    for name, what in (("SC_AVPHYS_PAGES", "available"), ("SC_PHYS_PAGES", "in all")):
        with suppress(ValueError, OSError):
            return f"{bytes_text(os.sysconf(name) * os.sysconf('SC_PAGE_SIZE'))} {what}"
    return "how much is available is not known"
