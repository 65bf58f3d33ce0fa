"""Supervised contrastive image classification with scores that can be trusted."""

import importlib.util
import os
import sys
from pathlib import Path


def _use_environment() -> None:
    """Hand a stage that was started by another interpreter to the one that `./run.sh setup` made."""
    if importlib.util.find_spec("jsonargparse") is not None:
        return
    environment = Path(__file__).resolve().parents[2] / ".venv"
    python = environment / "bin" / "python"
    if not python.exists() or Path(sys.prefix) == environment or os.environ.get("SUPCON_PYTHON"):
        print("error: the packages of requirements.txt are not installed: run ./run.sh setup", file=sys.stderr)
        sys.exit(2)
    sys.stdout.flush()
    os.execv(python, [str(python), *sys.argv])


_use_environment()
