"""Everything that offline inference needs of a finished run, in one folder and one zip."""

import dataclasses
import shutil
import sys
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import yaml

from supcon.bundle.cells import predicting_notebook
from supcon.bundle.code import LIBRARY, add_code
from supcon.bundle.export import calibration_views, export
from supcon.bundle.formats import RUNTIME_RANGES, RUNTIMES, SUFFIXES, Target
from supcon.bundle.judge import require_same, verdict
from supcon.bundle.manifest import (
    CLASS_MEANS_FILE,
    CLASSIFIER,
    DECISION,
    ENCODER,
    MANIFEST,
    NEIGHBOURS_FILE,
    read_bundle,
)
from supcon.decision.merge import CLASS_MEANS, HEAD, NEIGHBOURS, Shares, head_and_class_means
from supcon.environment import HOST_RANGES, Ranges, read_ranges, version_of
from supcon.errors import UserError, masked
from supcon.run.done import intact, read_result
from supcon.run.experiment import Experiment
from supcon.run.predictions import beside
from supcon.run.stage import versions
from supcon.settings import FULL
from supcon.settings.sources import load_resolved
from supcon.storage.files import (
    read_json,
    remove_leftovers,
    sha256_file,
    write_atomic,
    write_checked_json,
    write_json,
    write_text,
)
from supcon.training.device import set_up_device
from supcon.training.fold import FoldData
from supcon.training.model.adapter import FrozenEncoder
from supcon.training.model.classifier import load_classifier
from supcon.training.model.encoder import fuse_batch_norm
from supcon.training.model.weights import save_weights

NEEDED = ("torch", "timm", "numpy", "pandas", "opencv-python-headless", "safetensors")  # what that code imports
_OF_TORCH = {"torch", "timm", "safetensors"}  # of these, what another format does without

_README = """# Offline inference of the run {run}

`predict.ipynb` writes submission.csv for the rows of the sample_submission.csv that it finds, with the network off:
{models} models, {encoder} at {side} px, {views} views of each image at most, by {target}. Attach this folder and the
competition's files to a notebook, and run all cells.

The host needs Python 3.11 or newer, Pillow for images that are neither plain JPEG nor PNG, h5py or pyarrow for those in
HDF5 or Parquet files, and
{ranges};
another version is named with a warning. Made with {versions}.
"""


def write_bundle(experiment: Experiment, target: Target) -> tuple[Path, Path]:
    """Write runs/NAME/bundle/ and bundle.zip, in place of older ones, and return their paths.

    Models for another `target` than the run's own are compared with it on the held-out rows, which is printed. Raises
    `UserError`, with nothing left behind, where a file of the run is missing, the disk is full, or the encoder cannot
    be exported.
    """
    run_folder = experiment.request.run_folder
    folder, partial = run_folder / "bundle", run_folder / ".bundle"
    shutil.rmtree(partial, ignore_errors=True)
    remove_leftovers(run_folder)
    try:
        _fill(partial, experiment, target)
        archive = folder.with_suffix(".zip")
        write_atomic(archive, lambda file: _zip(partial, folder.name, file))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} is missing: run its stage again with --force") from None
    except OSError as error:
        raise UserError(f"{folder} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder, archive


def _fill(folder: Path, experiment: Experiment, target: Target) -> None:
    run_folder, settings = experiment.request.run_folder, experiment.settings
    decision, members = _own_decision(experiment)
    folder.mkdir(parents=True)
    folds = [*range(settings.data.folds), *([FULL] if experiment.own_full_model else [])]
    models = {
        experiment.request.fold_folder(fold).name: _add_model(folder, experiment, fold, members) for fold in folds
    }
    add_code(folder / "supcon", target.format)
    write_text(folder / "resolved.yaml", _shown_settings(run_folder / "resolved.yaml"))
    write_json(folder / DECISION, decision)
    shutil.copyfile(LIBRARY.parents[1] / "LICENSE", folder / "LICENSE")
    manifest = _manifest(experiment, models, members)
    _describe(folder, manifest, own := Target("torch", settings.train.precision))
    if target != own:
        _export(folder, experiment, manifest, target, folds)
    write_json(folder / "predict.ipynb", predicting_notebook(experiment.request.run))
    write_text(folder / "README.md", _readme(experiment, models, target))


def _export(
    folder: Path, experiment: Experiment, manifest: dict[str, Any], target: Target, folds: Sequence[int]
) -> None:
    """Make a bundle of torch one of `target`, and print what that changes."""
    before = read_bundle(folder)
    for name, fold in zip(before.models, folds, strict=True):
        if target.format != "torch":
            calibration = calibration_views(experiment, fold) if target.precision == "int8" else None
            export(before, name, target, calibration)
            print(f"bundle: {name} is exported", flush=True)
    _describe(folder, manifest, target)
    after = read_bundle(folder)
    if target.format != "torch" and target.precision == "float32":
        require_same(before, after)
    for line in verdict(experiment, read_json(folder / DECISION), before, after):
        print(f"bundle: {line}" if not line.startswith("warning") else line, flush=True)
    if target.format != "torch":
        for path in folder.rglob("*.safetensors"):
            path.unlink()


def _own_decision(experiment: Experiment) -> tuple[dict[str, Any], list[Shares]]:
    """Return decision.json with what has weight in its rule, and what those members are a blend of.

    Raises `UserError` where other runs than this have weight.
    """
    run, settings = experiment.request.run, experiment.settings
    decision = read_result(experiment.request.run_folder / DECISION)
    rule = decision["rule"]
    head = head_and_class_means(settings.predict.class_mean_weight)
    known = {run: head, **beside(run, settings.tune.members)}
    weighted = [name for name, weight in rule["weights"].items() if weight > 0]
    if not set(weighted) <= known.keys():
        names = ", ".join(weighted)
        raise UserError(f"run {run} decides by what {names} predict: bundle them, each with its own models")
    for name in ("weights", "temperatures"):
        rule[name] = {member: rule[name][member] for member in weighted}
    return decision, [known[name] for name in weighted]


def _add_model(folder: Path, experiment: Experiment, fold: int, members: Sequence[Shares]) -> FoldData:
    """Add the weights of a fold's model, or of the model on all rows, that the `members` need, and return its data."""
    source, settings = experiment.request.fold_folder(fold), experiment.settings
    target = folder / source.name
    target.mkdir()
    shutil.copyfile(intact(source / CLASSIFIER), target / CLASSIFIER)
    device = set_up_device(settings.machine)
    data = FoldData(experiment, fold, device)
    needed = {name for shares in members for name in shares}
    if needed - {HEAD} or settings.model.frozen:
        encoder, _ = load_classifier(settings, len(experiment.split.classes), source / CLASSIFIER)
        if isinstance(encoder, FrozenEncoder) and not (folder / ENCODER).exists():
            save_weights(folder / ENCODER, encoder=encoder.encoder)
        encoder = fuse_batch_norm(encoder.to(device), settings.data.image_size)
    if needed - {HEAD}:
        features = data.view_features(encoder, settings.predict.views if NEIGHBOURS in needed else 1)
        if CLASS_MEANS in needed:
            save_weights(target / CLASS_MEANS_FILE, class_means=data.class_means(features[:, 0]))
        if NEIGHBOURS in needed:
            save_weights(target / NEIGHBOURS_FILE, neighbours=data.neighbours(features))
    return data


def _describe(folder: Path, manifest: Mapping[str, Any], target: Target) -> None:
    """Write bundle.json: with what the models run on, and what is in the files that it takes."""
    models = sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES[target.format])
    write_checked_json(folder / MANIFEST, {
        **manifest,
        "format": target.format,
        "precision": target.precision,
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in [*models, folder / DECISION]},
        "versions": _versions(target),
        "ranges": ranges(target.format),
    })  # fmt: skip


def _manifest(experiment: Experiment, models: Mapping[str, FoldData], members: Sequence[Shares]) -> dict[str, Any]:
    settings, competition = experiment.settings, experiment.competition
    model = dataclasses.replace(settings.model, pretrained=settings.model.frozen, weights="")  # they are in its files
    tune = dataclasses.replace(settings.tune, storage="")  # a bundle is published
    average = dataclasses.replace(settings.average, runs=[])  # which may be folders of this machine
    data, reading = settings.data, experiment.reading
    if reading.stretches:  # the numbers that `data.pixel_range: data` stands for
        data = dataclasses.replace(data, pixel_range=f"{reading.low!r},{reading.high!r}")
    kept = dataclasses.replace(settings, model=model, tune=tune, data=data, average=average)
    return {
        "run": experiment.request.run,
        "settings": dataclasses.asdict(kept),
        "classes": experiment.split.classes,
        "id_column": competition.sample.id_column,
        "form": dataclasses.asdict(competition.form),
        "models": list(models),
        "members": members,
        "log_odds_shifts": [data.log_odds_shift.tolist() for data in models.values()],
        "unreadable_logits": [data.unreadable_logits.tolist() for data in models.values()],
    }


def ranges(format: str) -> Ranges:
    """Return the versions of packages that a bundle runs with: lowest, and first that is too new."""
    needed = set(NEEDED) if format == "torch" else {*NEEDED, RUNTIMES[format]} - _OF_TORCH
    return {name: pair for name, pair in {**read_ranges(HOST_RANGES), **RUNTIME_RANGES}.items() if name in needed}


def _versions(target: Target) -> dict[str, str]:
    """Return the versions of what a bundle was made with."""
    return versions() | {name: version_of(name) for name in ranges(target.format) if name in RUNTIME_RANGES}


def _shown_settings(resolved: Path) -> str:
    """Return a resolved.yaml that can be published: without the storage of searches and who logs in anywhere."""
    content = load_resolved(resolved)
    content["config_settings"].pop("tune.storage", None)
    content["settings"].get("tune", {}).pop("storage", None)
    return masked(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=sys.maxsize))


def _readme(experiment: Experiment, models: Mapping[str, FoldData], target: Target) -> str:
    settings = experiment.settings
    return _README.format(
        run=experiment.request.run,
        models=len(models),
        encoder=settings.model.encoder,
        side=experiment.prediction_side,
        views=settings.predict.views,
        target=target,
        ranges=", ".join(f"{first} <= {name} < {beyond}" for name, (first, beyond) in ranges(target.format).items()),
        versions=", ".join(f"{name} {version}" for name, version in _versions(target).items()),
    )


def _zip(folder: Path, name: str, file: IO[bytes]) -> None:
    """Write a zip of `folder`, called `name` in it, without compression: weights do not shrink."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(name) / path.relative_to(folder))
