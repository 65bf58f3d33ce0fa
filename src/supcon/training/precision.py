"""`train.precision auto`: the precision and memory format in which this encoder trains fastest on this machine.

No combination is fastest everywhere (docs/PERFORMANCE.md), so a few steps of each are timed, once for each machine and
root. The timings are kept in cache/, for all runs of that encoder and image size; the choice is kept in the run's
resolved.yaml.
"""

import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Literal, TypedDict

from supcon.competition.fetch import require_weights
from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.run.stage import write_resolved
from supcon.settings.settings import Settings
from supcon.settings.sources import chosen_precision, load_resolved
from supcon.storage import lock
from supcon.storage.files import digest, move, read_checked_json, write_checked_json
from supcon.storage.processes import MACHINE, available_cores

Candidate = tuple[Literal["float32", "bfloat16", "float16"], bool]  # precision; channels_last or not
Speeds = dict[str, float | str]  # candidate's name -> images a second, or why it has no speed

CANDIDATES: list[Candidate] = [("float32", True), ("bfloat16", True), ("float32", False), ("bfloat16", False)]
CANDIDATES += [("float16", True), ("float16", False)]
NOT_FOR_THIS = "left out"  # of a candidate that this device has no need of: float16, unless it lacks bfloat16
_GAIN = 1.05  # how much faster a later candidate must be: a few steps cannot show a smaller difference
_LARGEST = 128  # images a timed step: the fastest candidate shows without whole batches


class Trial(TypedDict):
    """All that the speed depends on."""

    host: str
    encoder: str
    side: int  # of the images, pixels
    images: int  # in a step
    device: str
    threads: int


def choose_precision(experiment: Experiment) -> Experiment:
    """Return the experiment with its precision chosen, where it is `auto`, and write the choice to resolved.yaml.

    The first process of a run chooses, by `fastest_precision`; all other folds and processes of that run read
    its choice. Raises `UserError` as `fastest_precision` does.
    """
    request = experiment.request
    if request.settings.train.precision != "auto":
        return experiment
    resolved = request.run_folder / "resolved.yaml"
    with lock.alone(request.run_folder / ".precision.lock", f"the choice of precision of run {request.run}"):
        content = load_resolved(resolved) if resolved.exists() else {"settings": {}}
        train = dataclasses.replace(request.settings.train, **chosen_precision(content))
        if train.precision != "auto":
            settings = dataclasses.replace(request.settings, train=train)
            request = dataclasses.replace(request, settings=settings, measured=content.get("measured", {}))
            return dataclasses.replace(experiment, request=request)
        experiment = fastest_precision(experiment)
        write_resolved(experiment.request)
    return experiment


def fastest_precision(experiment: Experiment) -> Experiment:
    """Return the experiment with the fastest precision and memory format on this machine, where they are `auto`.

    Writes the timings to cache/, and nothing else. Raises `UserError` where no candidate can train, for instance
    because the encoder is unknown.
    """
    request, settings = experiment.request, experiment.settings
    if settings.train.precision != "auto":
        return experiment
    if settings.model.pretrained and settings.model.weights:
        require_weights(request)  # before minutes of timing
    trial = _trial(settings)
    path = request.root / "cache" / f"precision-{digest(trial)[:16]}.json"
    speeds = _kept_speeds(path)
    if not speeds:
        with lock.alone(path.with_suffix(".lock"), "timing of precisions"):
            speeds = _kept_speeds(path) or _time_and_keep(trial, path)
    precision, channels_last = _fastest(speeds)
    tried = {name: speed for name, speed in speeds.items() if speed != NOT_FOR_THIS}
    shown = ", ".join(f"{name} {speed if isinstance(speed, str) else f'{speed:.0f}'}" for name, speed in tried.items())
    print(f"precision: {name_of(precision, channels_last)} of {shown} images/s", flush=True)
    train = dataclasses.replace(settings.train, precision=precision, channels_last=channels_last)
    measured = {**request.measured, "train.precision": tried}
    request = dataclasses.replace(request, settings=dataclasses.replace(settings, train=train), measured=measured)
    return dataclasses.replace(experiment, request=request)


def name_of(precision: str, channels_last: bool) -> str:
    """Return a candidate's name in tables."""
    return f"{precision} {'channels_last' if channels_last else 'contiguous'}"


def _trial(settings: Settings) -> Trial:
    pretrain, finetune = settings.pretrain, settings.finetune
    images = finetune.micro_batch or finetune.batch_size * finetune.views
    if pretrain.epochs:
        batches = settings.batches
        batch = batches.size or batches.classes_per_batch * batches.images_per_class
        images = pretrain.micro_batch or batch * pretrain.views
    return {
        "host": MACHINE,
        "encoder": settings.model.encoder,
        "side": settings.data.image_size,
        "images": min(images, _LARGEST),
        "device": settings.machine.device,
        "threads": settings.machine.threads or available_cores(),
    }


def _kept_speeds(path: Path) -> Speeds:
    """Return the speeds that were kept; none where they are not there, or damaged."""
    try:
        speeds: Speeds = dict(read_checked_json(path)["images a second"])
        _fastest(speeds)
    except (UserError, KeyError, TypeError, ValueError):
        return {}
    return speeds


def _time_and_keep(trial: Trial, path: Path) -> Speeds:
    """Write the speeds to `path`; nothing where no candidate can train, so that the next call tries again."""
    print("precision: timing a few steps (any other --train.precision than auto leaves this out)", flush=True)
    speeds = _time_candidates(trial)
    _fastest(speeds)
    if path.is_dir():  # in place of the file
        move(path, path.with_name(f"{path.name}-{time.strftime('%Y%m%d-%H%M%S')}"))
    write_checked_json(path, {"trial": trial, "images a second": speeds})
    return speeds


def _time_candidates(trial: Trial) -> Speeds:
    """Return the speed of every candidate.

    Candidates are timed in another process, since some kernels of oneDNN crash: then that process alone ends, and a new
    one goes on with the candidate after the one that crashed.
    """
    speeds: Speeds = {}
    while len(speeds) < len(CANDIDATES):
        left = CANDIDATES[len(speeds) :]
        words = [sys.executable, "-m", "supcon.training.precision_trial", json.dumps({**trial, "candidates": left})]
        source = Path(__file__).resolve().parents[2]
        done = subprocess.run(words, cwd=source, capture_output=True, text=True, check=False)
        if done.returncode == 2:  # a setting that no candidate can use
            raise UserError(done.stderr.strip().removeprefix("error: "))
        answers = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        for (precision, channels_last), answer in zip(left, answers, strict=False):
            speeds[name_of(precision, channels_last)] = answer["speed"]
        if len(answers) < len(left):
            speeds[name_of(*left[len(answers)])] = "fails"
    return speeds


def _fastest(speeds: Speeds) -> Candidate:
    """Return the fastest candidate; a later one must beat the best so far by `_GAIN`. Raises `UserError` for none."""
    best: Candidate | None = None
    best_speed = 0.0
    for candidate in CANDIDATES:
        speed = speeds[name_of(*candidate)]
        if isinstance(speed, float) and speed > best_speed * (_GAIN if best else 1):
            best, best_speed = candidate, speed
    if best is None:
        raise UserError("--train.precision auto: no training step works here: see what --train.precision float32 says")
    return best
