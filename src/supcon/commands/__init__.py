"""The tools beside the pipeline, a page each: `python -m supcon.commands.report`."""

import sys

from supcon.errors import begin_command

if sys.argv[:1] == ["-m"]:  # Python is on its way to the page, whose packages take seconds to load
    begin_command()
