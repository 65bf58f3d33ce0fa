"""A stage that was started by any interpreter goes on in the one that `./run.sh setup` made."""

import importlib.util
import os
import sys
from pathlib import Path

from supcon.errors import begin_command


def hand_over(name: str) -> None:
    """Replace this process by the same stage in .venv, where `name` is "__main__" and the packages are missing here.

    Exits with status 2 where there is no .venv either. A page that is imported is left alone. From here on a signal is
    heard: the packages take seconds to load.
    """
    if name != "__main__":
        return
    begin_command()
    if importlib.util.find_spec("jsonargparse") is not None:
        return
    environment = Path(__file__).resolve().parents[2] / ".venv"
    python = environment / "bin" / "python"
    if not python.exists() or Path(sys.prefix) == environment:
        print("error: the packages of requirements.txt are not installed: run ./run.sh setup", file=sys.stderr)
        sys.exit(2)
    sys.stdout.flush()
    os.execv(python, [str(python), *sys.argv])
