"""`train.precision auto`: the precision and memory format in which this encoder trains fastest on this machine.

Neither wins everywhere (docs/PERFORMANCE.md), so a few steps of each are timed, once a machine and root. What they took
is kept in cache/, for all runs of an encoder at a size; what was chosen is kept in the run's resolved.yaml.
"""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.run.stage import write_resolved
from supcon.settings.settings import Settings
from supcon.settings.sources import chosen_precision, load_resolved
from supcon.storage import lock
from supcon.storage.files import digest, read_json, write_json
from supcon.storage.processes import HOST, available_cores

Candidate = tuple[Literal["float32", "bfloat16"], bool]  # with channels_last or not

CANDIDATES: list[Candidate] = [("float32", True), ("bfloat16", True), ("float32", False), ("bfloat16", False)]
_GAIN = 1.05  # what a later candidate must be faster by: a few steps are not told apart closer
_LARGEST = 128  # images a timed step: the order of the candidates shows with fewer than a batch


def choose_precision(experiment: Experiment) -> Experiment:
    """Return the experiment with its precision chosen, where it is `auto`, and written to the run's resolved.yaml.

    The first process of a run to come here chooses, by `fastest_precision`; folds, processes and machines that share
    the run take what it chose. Raises `UserError` as that does.
    """
    call = experiment.call
    if call.settings.train.precision != "auto":
        return experiment
    resolved = call.run_folder / "resolved.yaml"
    with lock.alone(call.run_folder / ".precision.lock", f"the choice of precision of run {call.run}"):
        content = load_resolved(resolved) if resolved.exists() else {"settings": {}}
        train = dataclasses.replace(call.settings.train, **chosen_precision(content))
        if train.precision != "auto":
            settings = dataclasses.replace(call.settings, train=train)
            call = dataclasses.replace(call, settings=settings, measured=content.get("measured", {}))
            return dataclasses.replace(experiment, call=call)
        experiment = fastest_precision(experiment)
        write_resolved(experiment.call)
    return experiment


def fastest_precision(experiment: Experiment) -> Experiment:
    """Return the experiment with the precision and memory format that are fastest here, where they are `auto`.

    Writes nothing but what was timed, to cache/. Raises `UserError` where no candidate can train, as with an encoder
    that is unknown.
    """
    call, settings = experiment.call, experiment.call.settings
    if settings.train.precision != "auto":
        return experiment
    trial = _trial(settings)
    path = call.root / "cache" / f"precision-{digest(trial)[:16]}.json"
    if not path.exists():
        with lock.alone(path.with_suffix(".lock"), "timing of precisions"):
            if not path.exists():
                _time_and_keep(trial, path)
    speeds = read_json(path)["images a second"]
    precision, channels_last = _fastest(speeds)
    shown = ", ".join(f"{name} {speed if isinstance(speed, str) else f'{speed:.0f}'}" for name, speed in speeds.items())
    print(f"precision: {name_of(precision, channels_last)} of {shown} images/s", flush=True)
    train = dataclasses.replace(settings.train, precision=precision, channels_last=channels_last)
    measured = {**call.measured, "train.precision": speeds}
    call = dataclasses.replace(call, settings=dataclasses.replace(settings, train=train), measured=measured)
    return dataclasses.replace(experiment, call=call)


def name_of(precision: str, channels_last: bool) -> str:
    """Return how tables call a candidate."""
    return f"{precision} {'channels_last' if channels_last else 'contiguous'}"


def _trial(settings: Settings) -> dict[str, Any]:
    """Return all that the speed depends on."""
    pretrain, finetune = settings.pretrain, settings.finetune
    images = finetune.micro_batch or finetune.batch_size * finetune.views
    if pretrain.epochs:
        batches = settings.batches
        batch = batches.size or batches.classes_per_batch * batches.images_per_class
        images = pretrain.micro_batch or batch * pretrain.views
    return {
        "host": HOST,
        "encoder": settings.model.encoder,
        "side": settings.data.image_size,
        "images": min(images, _LARGEST),
        "device": settings.machine.device,
        "threads": settings.machine.threads or available_cores(),
    }


def _time_and_keep(trial: dict[str, Any], path: Path) -> None:
    """Write what is measured to `path`; nothing where no candidate can train, so that the next call tries again."""
    print("precision: timing a few steps (--train.precision float32 or bfloat16 leaves this out)", flush=True)
    speeds = _time_candidates(trial)
    _fastest(speeds)
    write_json(path, {"trial": trial, "images a second": speeds})


def _time_candidates(trial: dict[str, Any]) -> dict[str, float | str]:
    """Return images a second of every candidate, or why there are none.

    In a process of its own: a kernel that crashes (oneDNN knows such) takes only this one down, and it is begun again
    behind the candidate that did it.
    """
    speeds: dict[str, float | str] = {}
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


def _fastest(speeds: dict[str, float | str]) -> Candidate:
    """Return the first candidate that none behind it outruns clearly."""
    best: Candidate | None = None
    best_speed = 0.0
    for candidate in CANDIDATES:
        speed = speeds[name_of(*candidate)]
        if isinstance(speed, float) and speed > best_speed * (_GAIN if best else 1):
            best, best_speed = candidate, speed
    if best is None:
        raise UserError("--train.precision auto: no training step works here: see what --train.precision float32 says")
    return best
