"""Earlier runs that a run starts from: the first round, whose labels it learns, and those whose weights it averages."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from supcon.errors import UserError
from supcon.run.done import read_done
from supcon.run.predictions import FinishedRun, find_run
from supcon.run.stages import WEIGHTS
from supcon.settings import FULL, Request, command_of, fold_name
from supcon.settings.settings import Settings
from supcon.settings.sources import flatten

_ALIKE = (  # in runs whose weights are averaged: the network, what it starts from and sees, what its logits mean
    *(f"data.{name}" for name in ("image_size", "fit", "pixel_range", "bands", "shots")),
    *(f"model.{name}" for name in ("encoder", "kwargs", "pretrained", "frozen", "adapter_width")),
    *(f"finetune.{name}" for name in ("mode", "classifier", "batches", "logit_adjustment")),
)
_INPUTS = {f"input {WEIGHTS}": "starts from another --model.weights", "input pseudo": "learned other pseudo-labels"}


def find_first_round(request: Request, split_digest: str) -> FinishedRun:
    """Return the run that `pseudo.run` names. Raises `UserError` where it has no labels to give."""
    name = request.settings.pseudo.run
    if name == request.run:
        raise UserError(f"--pseudo.run {name}: a run cannot learn from itself: name an earlier one")
    try:
        run = find_run(request.root, name, request.settings.data.folds, split_digest)
    except UserError as error:
        raise UserError(f"--pseudo.run: {error}") from None
    if not run.fold_folders:
        raise UserError(f"--pseudo.run {name}: it has no models of its own for each fold: name one that has")
    return run


def first_round_inputs(run: FinishedRun, request: Request, fold: int | None) -> dict[str, str]:
    """Return the hashes of what the first round predicts, as far as labels for `fold` are made from it."""
    if fold == FULL and not run.full:
        raise UserError(
            f"--pseudo.run: run {run.name} has no predictions of a full model:"
            f" `{command_of('predict', request.root, '--run', run.name, '--fold', 'full')}` first"
        )
    return run.inputs | ({f"{run.name} fold full": run.full} if fold == FULL else {})


def find_averaged(request: Request, split_digest: str) -> list[FinishedRun]:
    """Return the runs that `average.runs` names, in that order; none where the run is trained.

    Raises `UserError` where one is unknown, unfinished or of another split, has no trained weights of its own, or does
    not fit the first: weights average where networks come from the same start, and their logits mean the same.
    """
    settings, names = request.settings, request.settings.average.runs
    if not names:
        return []
    if any(request.run_folder.glob("*/pretrain.*.json")) or any(request.run_folder.glob("*/finetune.*.json")):
        raise UserError(f"run {request.run} has been trained: give the average another --run")
    if "model.weights" in request.given:
        raise UserError("--model.weights: an average starts from the weights of its runs: leave the flag out")
    runs = [find_run(request.root, name, settings.data.folds, split_digest) for name in names]
    folders = [run.folder.resolve() for run in runs]
    for number, run in enumerate(runs):
        if not run.fold_folders:
            raise UserError(f"run {run.name} has no models of its own to average: name the runs that it blends")
        if folders[number] in (request.run_folder.resolve(), *folders[:number]):
            raise UserError(f"run {run.name} is named twice, or is to be made: name each other run once")
    for fold in [*range(settings.data.folds), *([FULL] if FULL in request.folds else [])]:
        _require_alike(runs, fold, request)
    return runs


def averaged_inputs(runs: Sequence[FinishedRun], request: Request, fold: int | None) -> dict[str, str]:
    """Return the hashes of a fold's weights that are averaged, and of the other folds' predictions that choose them.

    Raises `UserError` where a run has no such weights.
    """
    assert fold is not None
    inputs = {f"{run.name} weights": trained(run, fold, request.root)["hash"] for run in runs}
    if request.settings.average.choice == "uniform":
        return inputs
    own = [f"{run.name} fold {fold}" for run in runs]
    return inputs | {name: value for run in runs for name, value in run.inputs.items() if name not in own}


def trained(run: FinishedRun, fold: int, root: Path) -> dict[str, Any]:
    """Return the finetune.done.json of a fold, or of FULL. Raises `UserError` where no weights were trained there."""
    folder = run.fold_folder(fold)
    if (folder / "soup.done.json").exists():
        raise UserError(f"run {run.name} is an average of weights itself: name the runs that it averages")
    if not (folder / "finetune.done.json").exists():
        command = command_of("finetune", root, "--run", run.name, "--fold", fold_name(fold))
        raise UserError(f"run {run.name} has no weights of fold {fold_name(fold)}: `{command}` first, or leave it out")
    return read_done(folder / "finetune.done.json")


def _require_alike(runs: Sequence[FinishedRun], fold: int, request: Request) -> None:
    """Raise `UserError` for the first run whose weights of a fold do not average with those of the run named first."""
    made = [trained(run, fold, request.root) for run in runs]
    first = _alike(made[0]["fingerprint"])
    settings = flatten(dataclasses.asdict(request.settings))
    heads = {key: value for key, value in made[0]["fingerprint"].items() if key.startswith("contrast.projection")}
    for key, value in (first | heads).items():
        if key in settings and settings[key] != value:
            raise UserError(f"--{key} {settings[key]}: run {runs[0].name} was trained with {value}: leave the flag out")
    for run, done in zip(runs, made, strict=True):
        own = _alike(done["fingerprint"])
        for key in dict.fromkeys([*first, *own]):
            if own.get(key) != first.get(key):
                how = _INPUTS.get(key) or f"has {key} {own.get(key)}, not {first.get(key)}"
                raise UserError(f"run {run.name} does not average with run {runs[0].name}: it {how}; leave one out")
        if fold != FULL and _predicted_by(run, fold) != done["hash"]:
            command = command_of("predict", request.root, "--run", run.name, "--fold", fold_name(fold), "--force")
            raise UserError(f"run {run.name} has new weights of fold {fold} since it predicted: `{command}` first")


def _alike(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    """Return what must be the same in runs whose weights are averaged; a fingerprint may leave out some defaults."""
    values = flatten(dataclasses.asdict(Settings())) | dict(fingerprint)
    batches = [key for key in fingerprint if key.startswith("batches.")]  # there where logits depend on them
    common = {key: values.get(key) for key in (*_ALIKE, *batches, *_INPUTS)}
    if not common["model.pretrained"] or common["model.frozen"]:  # the first stage draws the weights, or the adapter's
        stage = "pretrain" if "input pretrain" in values else "finetune"
        common["random weights"] = f"that {stage} drew by train.seed {values['train.seed']}"
    return common


def _predicted_by(run: FinishedRun, fold: int) -> object:
    """Return the hash of the weights that made a fold's predictions."""
    return read_done(run.fold_folder(fold) / "predict.done.json")["fingerprint"].get("input finetune")
