"""The tools beside the pipeline, a page each: `python -m supcon.commands.report`."""

import sys

from supcon.errors import end_on_signals

if sys.argv[:1] == ["-m"]:  # Python is on its way to the page, whose packages take seconds to load
    end_on_signals()
