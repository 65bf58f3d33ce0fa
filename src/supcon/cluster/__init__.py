"""Folds of a run over processes and GPUs."""

import sys

from supcon.errors import end_on_signals

if sys.argv[:1] == ["-m"]:  # Python is on its way to `fan_out`, whose packages take seconds to load
    end_on_signals()
