"""Everything that offline inference needs of a finished run, in one folder and one zip."""

import ast
import dataclasses
import shutil
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import yaml

from supcon.bundle.manifest import CLASS_MEANS_FILE, CLASSIFIER, DECISION, MANIFEST, RANGES
from supcon.bundle.notebook import notebook
from supcon.errors import UserError, masked
from supcon.run.done import intact, read_result
from supcon.run.experiment import Experiment
from supcon.run.stage import versions
from supcon.settings import FULL
from supcon.settings.sources import load_resolved
from supcon.storage.files import remove_leftovers, sha256_file, write_atomic, write_checked_json, write_json, write_text
from supcon.training.device import set_up_device
from supcon.training.fold import FoldData
from supcon.training.model.classifier import load_classifier
from supcon.training.model.encoder import fuse_batch_norm
from supcon.training.model.weights import save_weights

LIBRARY = Path(__file__).resolve().parents[1]
ENTRY = "bundle/infer.py"  # what the notebook imports; the bundle's code is this and all that it imports

_README = """# Offline inference of the run {run}

`predict.ipynb` writes submission.csv for the rows of the sample_submission.csv that it finds, with the network off:
{models} models, {encoder} at {side} px, {views} views of each image at most. Attach this folder and the competition's
files to a notebook, and run all cells.

The host needs Python 3.11 or newer, Pillow for images that are neither plain JPEG nor PNG, and
{ranges};
another version is named with a warning. Made with {versions}.
"""


def write_bundle(experiment: Experiment) -> tuple[Path, Path]:
    """Write runs/NAME/bundle/ and bundle.zip, in place of older ones, and return their paths.

    Raises `UserError`, with nothing left behind, where a file of the run is missing or the disk is full.
    """
    run_folder = experiment.request.run_folder
    folder, partial = run_folder / "bundle", run_folder / ".bundle"
    shutil.rmtree(partial, ignore_errors=True)
    remove_leftovers(run_folder)
    try:
        _fill(partial, experiment)
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


def _fill(folder: Path, experiment: Experiment) -> None:
    run_folder, settings = experiment.request.run_folder, experiment.settings
    decision = _own_decision(experiment)
    folder.mkdir(parents=True)
    folds = [*range(settings.data.folds), *([FULL] if experiment.own_full_model else [])]
    models = {experiment.request.fold_folder(fold).name: _add_model(folder, experiment, fold) for fold in folds}
    _add_code(folder / "supcon")
    write_text(folder / "resolved.yaml", _shown_settings(run_folder / "resolved.yaml"))
    write_json(folder / DECISION, decision)
    shutil.copyfile(LIBRARY.parents[1] / "LICENSE", folder / "LICENSE")
    write_checked_json(folder / MANIFEST, _manifest(folder, experiment, models))
    write_json(folder / "predict.ipynb", notebook(experiment.request.run))
    write_text(folder / "README.md", _readme(experiment, models))


def _own_decision(experiment: Experiment) -> dict[str, Any]:
    """Return decision.json with this run's part of the rule. Raises `UserError` where other runs have weight too."""
    run, decision = experiment.request.run, read_result(experiment.request.run_folder / DECISION)
    rule = decision["rule"]
    if rule["weights"].get(run) != 1:
        names = ", ".join(name for name, weight in rule["weights"].items() if weight > 0)
        raise UserError(f"run {run} decides by what {names} predict: bundle them, each with its own models")
    for name in ("weights", "temperatures"):
        rule[name] = {run: rule[name][run]}
    return decision


def _add_model(folder: Path, experiment: Experiment, fold: int) -> FoldData:
    """Add the weights of a fold's model, or of the model on all rows, and return its data."""
    source = experiment.request.fold_folder(fold)
    target = folder / source.name
    target.mkdir()
    shutil.copyfile(intact(source / CLASSIFIER), target / CLASSIFIER)
    settings = experiment.settings
    device = set_up_device(settings.machine)
    data = FoldData(experiment, fold, device)
    if settings.predict.class_mean_weight > 0:
        encoder, _ = load_classifier(settings, len(experiment.split.classes), source / CLASSIFIER)
        encoder = fuse_batch_norm(encoder.to(device), settings.data.image_size)
        save_weights(target / CLASS_MEANS_FILE, class_means=data.class_means(data.training_features(encoder)))
    return data


def _add_code(folder: Path) -> None:
    """Copy the modules that inference needs; of each `__init__.py` only the docstring, without its imports."""
    for path in needed_modules(ENTRY):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(LIBRARY / path, target)
    for inner in {folder, *(path.parent for path in folder.rglob("*.py"))}:
        source = LIBRARY / inner.relative_to(folder) / "__init__.py"
        write_text(inner / "__init__.py", docstring_of(source))


def needed_modules(entry: str, library: Path = LIBRARY) -> list[Path]:
    """Return the files of `entry` (such as "bundle/infer.py") and of all that it imports, relative to `library`.

    Imports count wherever they stand in a file. Each must name a module, not a folder: in a bundle the folders'
    `__init__.py` hold nothing but their docstring. Raises `ValueError` for one that does not.
    """
    found: list[Path] = []
    waiting = [Path(entry)]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        for name in imported(library / path):
            if name.split(".")[0] == library.name:
                module = Path(*name.split(".")[1:]).with_suffix(".py")
                if not (library / module).is_file():
                    raise ValueError(f"{path} imports {name}, which is no file below {library}")
                waiting.append(module)
    return sorted(found)


def imported(path: Path) -> list[str]:
    """Return the names of the modules that a file imports, in their order."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


def docstring_of(path: Path) -> str:
    """Return the source of a module that holds the docstring of the one at `path`, and nothing else."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return f'"""{docstring}"""\n'


def _manifest(folder: Path, experiment: Experiment, models: Mapping[str, FoldData]) -> dict[str, Any]:
    settings, competition = experiment.settings, experiment.competition
    model = dataclasses.replace(settings.model, pretrained=False, weights="")  # they are in the folds' files
    tune = dataclasses.replace(settings.tune, storage="")  # a bundle is published
    data, reading = settings.data, experiment.reading
    if reading.stretches:  # the numbers that `data.pixel_range: data` stands for
        data = dataclasses.replace(data, pixel_range=f"{reading.low!r},{reading.high!r}")
    described = [*sorted(folder.glob("*/*.safetensors")), folder / DECISION]
    return {
        "run": experiment.request.run,
        "settings": dataclasses.asdict(dataclasses.replace(settings, model=model, tune=tune, data=data)),
        "classes": experiment.split.classes,
        "id_column": competition.sample.id_column,
        "form": dataclasses.asdict(competition.form),
        "models": list(models),
        "log_odds_shifts": [data.log_odds_shift.tolist() for data in models.values()],
        "unreadable_logits": [data.unreadable_logits.tolist() for data in models.values()],
        "files": {path.relative_to(folder).as_posix(): sha256_file(path) for path in described},
        "versions": versions(),
        "ranges": RANGES,
    }


def _shown_settings(resolved: Path) -> str:
    """Return a resolved.yaml that can be published: without the storage of searches and who logs in anywhere."""
    content = load_resolved(resolved)
    content["config_settings"].pop("tune.storage", None)
    content["settings"].get("tune", {}).pop("storage", None)
    return masked(yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=sys.maxsize))


def _readme(experiment: Experiment, models: Mapping[str, FoldData]) -> str:
    settings = experiment.settings
    return _README.format(
        run=experiment.request.run,
        models=len(models),
        encoder=settings.model.encoder,
        side=experiment.prediction_side,
        views=settings.predict.views,
        ranges=", ".join(f"{first} <= {name} < {beyond}" for name, (first, beyond) in RANGES.items()),
        versions=", ".join(f"{name} {version}" for name, version in versions().items()),
    )


def _zip(folder: Path, name: str, file: IO[bytes]) -> None:
    """Write a zip of `folder`, called `name` in it, without compression: weights do not shrink."""
    with zipfile.ZipFile(file, "w") as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, Path(name) / path.relative_to(folder))
