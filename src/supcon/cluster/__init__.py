"""Many trainings over cores, GPUs and machines; one model over several processes."""

import sys

from supcon.errors import begin_command

if sys.argv[:1] == ["-m"]:  # Python is on its way to one of these, whose packages take seconds to load
    begin_command()
