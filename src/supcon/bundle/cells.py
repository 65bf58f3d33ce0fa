"""The cells of the notebooks that go to a host, as nbformat JSON: one predicts with a bundle, one trains."""

from collections.abc import Sequence
from typing import Any

_PREDICTING = """# Predict the test rows of `{run}`

Nothing here needs the network. Attach this bundle and the competition's files, and run all cells."""

_PLACES = '''# empty: found in the working folder, in one below it, or below /kaggle/input
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

try:
    from supcon.bundle.infer import find_competition, predict_submission
    from supcon.bundle.manifest import read_bundle, version_warnings
    from supcon.errors import UserError
except ModuleNotFoundError as error:
    if (error.name or "").partition(".")[0] != "supcon":
        raise
    raise SystemExit(f"error: {manifest.parent} lacks {error.name}: copy the whole bundle again") from None
print(f"bundle: {manifest.parent}")"""

_PREDICT = """try:
    bundle = read_bundle(manifest.parent)
    for warning in version_warnings(manifest.parent):
        print(warning)
    competition = Path(COMPETITION) if COMPETITION else find_competition(bundle)
    submission = predict_submission(bundle, competition, Path(OUTPUT))
except UserError as error:
    raise SystemExit(f"error: {error}") from None"""

_SHOW = "submission.head()"

_TRAINING = """# Train `{run}`

Attached are the code, the competition's files and, where there is one, this notebook's own earlier output: then it goes
on where that ended. Save a version: it runs all cells, and holds `submission.csv`, `report.html` and `runs/`."""

_ATTACHED = """LIMIT, SECONDS = {limit!r}, {seconds:g}  # less than the host's limit; another version goes on from there
COMPETITION, CODE = {competition!r}, {code!r}  # what is attached, as the host calls it
RUN, WEIGHTS = {run!r}, {weights!r}
INPUT, WORK = "/kaggle/input", "/kaggle/working\""""

_LINK = """import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
from pathlib import Path


def attached(held, also=""):
    places = (path.parents[held.count("/")] for depth in range(4) for path in Path(INPUT).glob("*/" * depth + held))
    return next((place for place in places if (place / also).exists()), None)


work, code, earlier = Path(WORK), attached("supcon/run.sh", f"settings/{RUN}.yaml"), attached("runs", f"runs/{RUN}")
parent = attached(COMPETITION)
competition = parent and parent / COMPETITION
for name, place in ((CODE, code), (COMPETITION, competition)):
    if place is None:
        raise SystemExit(f"error: {name} is not attached: add it to the notebook's input")
if not (work / "input").exists():
    (work / "input").symlink_to(competition)
if not (work / "cache").exists():  # decoded images are no output
    (work / "cache").symlink_to(tempfile.mkdtemp(prefix="cache-"))
for name in ("folds", "runs", "submissions"):
    if earlier and (earlier / name).is_dir() and not (work / name).exists():
        shutil.copytree(earlier / name, work / name)
        print(f"{name}/ of an earlier version: it goes on from there")"""

_TRAIN = """shared = ["--root", WORK, "--run", RUN]
flags = ["--config", str(code / "settings" / f"{RUN}.yaml")]
flags += ["--model.weights", str(code / "weights" / WEIGHTS)] if WEIGHTS else []
python_path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), str(code / "packages")]))
environment = {**os.environ, "SUPCON_PYTHON": sys.executable, "PYTHONPATH": python_path, "PYTHONDONTWRITEBYTECODE": "1"}


def command(name, *words):
    \"\"\"Run a command of run.sh, print what it prints, and return its status; at the limit it is ended.\"\"\"
    words = ["bash", str(code / "supcon" / "run.sh"), name, *shared, *words]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    with subprocess.Popen(words, env=environment, **pipes) as process:
        limit = threading.Timer(SECONDS, process.send_signal, [signal.SIGTERM])
        limit.start()
        for line in process.stdout:
            print(line, end="", flush=True)
        limit.cancel()
    return process.returncode


status = command("all", *flags)
if status == 128 + signal.SIGTERM:
    print(f"not done after {LIMIT}: attach this version's output and save another, or use ./run.sh notebook --goes_on")
elif status:
    raise SystemExit(f"error: run.sh ended with status {status}, the last line says why")"""

_LEAVE = """if status == 0:
    command("report")
for path in (work / "submissions" / "submission.csv", work / "runs" / RUN / "report.html"):
    if path.exists():
        shutil.copyfile(path, work / path.name)
        print(f"{path.name}: {path.stat().st_size:,} bytes")"""


def predicting_notebook(run: str) -> dict[str, Any]:
    """Return the notebook that predicts with the bundle of `run`."""
    return _notebook(_PREDICTING.format(run=run), [_PLACES, _OPEN, _PREDICT, _SHOW])


def training_notebook(
    run: str, *, code: str, competition: str, weights: str, limit: str, seconds: float
) -> dict[str, Any]:
    """Return the notebook that trains `run`, with code and competition as the host calls what is attached to it.

    `weights` is a file's name in the folder weights/ of the code, or empty; `limit` says what `seconds` are.
    """
    attached = _ATTACHED.format(
        run=run, code=code, competition=competition, weights=weights, limit=limit, seconds=seconds
    )
    return _notebook(_TRAINING.format(run=run), [attached, _LINK, _TRAIN, _LEAVE])


def _notebook(title: str, cells: Sequence[str]) -> dict[str, Any]:
    return {
        "cells": [
            {"cell_type": "markdown", "id": "title", "metadata": {}, "source": title},
            *[_code(f"cell{number}", text) for number, text in enumerate(cells, start=1)],
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
