"""Folds of a run over processes and GPUs."""

import sys

from supcon.errors import begin_command

if sys.argv[:1] == ["-m"]:  # Python is on its way to `fan_out`, whose packages take seconds to load
    begin_command()
