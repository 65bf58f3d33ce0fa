"""The notebook of a bundle, as nbformat JSON: a few cells that run from top to bottom."""

from typing import Any

_TITLE = """# Predict the test rows of `{run}`

Nothing here needs the network. Attach this bundle and the competition's files, and run all cells."""

_SETTINGS = '''# empty: found in the working folder, in one below it, or below /kaggle/input
BUNDLE = ""  # the folder that holds bundle.json
COMPETITION = ""  # the folder that holds sample_submission.csv and the test images; beside the bundle, too
OUTPUT = "submission.csv"'''

_OPEN = """import sys
from itertools import chain
from pathlib import Path

cwd, mounted, name = Path.cwd(), Path("/kaggle/input"), "bundle.json"
matches = [cwd.glob(name), cwd.glob(f"*/{name}"), *(mounted.glob("*/" * depth + name) for depth in (1, 2, 3, 4))]
manifest = next(chain(*([Path(BUNDLE).glob(name)] if BUNDLE else matches)), None)
if manifest is None:
    raise SystemExit(f"error: {BUNDLE or 'no folder near here'} has no {name}: name the bundle's folder in BUNDLE")
sys.path.insert(0, str(manifest.parent))

from supcon.bundle.infer import find_competition, predict_submission
from supcon.bundle.manifest import read_bundle, version_warnings
from supcon.errors import UserError

print(f"bundle: {manifest.parent}", *version_warnings(), sep="\\n")"""

_PREDICT = """try:
    bundle = read_bundle(manifest.parent)
    competition = Path(COMPETITION) if COMPETITION else find_competition(bundle)
    submission = predict_submission(bundle, competition, Path(OUTPUT))
except UserError as error:
    raise SystemExit(f"error: {error}") from None"""

_SHOW = "submission.head()"


def notebook(run: str) -> dict[str, Any]:
    """Return the notebook that predicts with the bundle of `run`."""
    return {
        "cells": [
            {"cell_type": "markdown", "id": "title", "metadata": {}, "source": _TITLE.format(run=run)},
            *[_code(f"cell{number}", text) for number, text in enumerate((_SETTINGS, _OPEN, _PREDICT, _SHOW), start=1)],
        ],
        "metadata": {
            "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
            "language_info": {"name": "python"},
        },
        "nbformat": 4,
        "nbformat_minor": 5,
    }


def _code(name: str, text: str) -> dict[str, Any]:
    return {
        "cell_type": "code", "execution_count": None, "id": name, "metadata": {}, "outputs": [], "source": text,
    }  # fmt: skip
