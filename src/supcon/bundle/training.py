"""The folder that a host trains from: a notebook, and this code with what the host lacks, which is attached to it."""

import re
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict
from importlib import metadata
from pathlib import Path

import yaml
from safetensors.torch import save

from supcon.bundle.cells import training_notebook
from supcon.competition.fetch import require_weights
from supcon.competition.own_work import DATASET_FILE, NOTEBOOK_FILE, dataset_metadata, notebook_metadata, slug
from supcon.errors import UserError
from supcon.settings import Request, Settings
from supcon.settings.budget import parse_budget
from supcon.settings.sources import REPOSITORY, Flat, flatten, nested
from supcon.storage.files import write_atomic, write_json, write_text
from supcon.training.model.encoder import Encoder

NOTEBOOK = "train.ipynb"
_CODE_PARTS = ("supcon", "packages", "settings", "weights", DATASET_FILE)
_OURS = (NOTEBOOK, NOTEBOOK_FILE, *(f"code/{part}" for part in _CODE_PARTS))  # all else in the folder is the user's
_CODE = ("run.sh", "requirements.txt", "requirements-host.txt", "pyproject.toml", "LICENSE", "configs", "src")
_LACKING = (  # packages that hosts may lack, all of Python alone, with what they need
    "jsonargparse", "typeshed-client", "docstring-parser", "importlib-resources", "cmaes", "cleanlab", "termcolor",
    "mlxtend",
)  # fmt: skip
_CHOSEN = {"train.precision", "train.channels_last", "data.store", "track"}  # for this machine, unless they are said


def write_training(
    request: Request, folder: Path, *, owner: str, competition: str, limit: str, gpu: bool, goes_on: bool
) -> str:
    """Write the folder, in place of what an earlier call wrote; return the notebook's name on the host, OWNER/NAME.

    Encoder weights lie in it as a file, since the host's notebook may have no network. `limit` is how long it may run
    there, as `--limit` takes it. Raises `UserError` where weights cannot be had, or the folder cannot be written.
    """
    name, code, partial = slug(request.run, "train"), slug(request.run, "code"), folder / ".new"
    try:
        shutil.rmtree(partial, ignore_errors=True)  # of a killed process
        partial.mkdir(parents=True)
        weights = _add_weights(partial / "code" / "weights", request)
        _add_code(partial / "code")
        settings = yaml.safe_dump(nested(shipped_settings(request)), sort_keys=False, allow_unicode=True)
        write_text(partial / "code" / "settings" / f"{request.run}.yaml", settings)
        write_json(partial / "code" / DATASET_FILE, dataset_metadata(owner, code))
        write_json(partial / NOTEBOOK, training_notebook(
            request.run, code=code, competition=competition, weights=weights, limit=limit, seconds=parse_budget(limit)
        ))  # fmt: skip
        write_json(partial / NOTEBOOK_FILE, notebook_metadata(
            owner, name, NOTEBOOK, gpu=gpu, datasets=[code], competition=competition,
            notebooks=[name] if goes_on else []
        ))  # fmt: skip
        _put_in_place(partial, folder)
    except OSError as error:
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error.strerror or error
        raise UserError(
            f"{folder} could not be written ({reason}): make room or let it be written, and try again"
        ) from None
    except UserError as error:
        raise UserError(str(error).replace(str(partial), str(folder))) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        with suppress(OSError):
            folder.rmdir()  # where nothing was written
    return f"{owner}/{name}"


def _put_in_place(partial: Path, folder: Path) -> None:
    """Move what was written to `folder`, in place of what an earlier call wrote there."""
    for name in _OURS:
        old = folder / name
        if old.is_dir() and not old.is_symlink():
            shutil.rmtree(old)
        else:
            old.unlink(missing_ok=True)
        if (partial / name).exists():
            old.parent.mkdir(exist_ok=True)
            (partial / name).rename(old)


def shipped_settings(request: Request) -> Flat:
    """Return the settings that are not the defaults, by dotted key, without what was chosen for this machine."""
    said, defaults = request.config_settings | request.given, flatten(asdict(Settings()))
    settings = flatten(asdict(request.settings)) | {"model.weights": ""}
    chosen = _CHOSEN - said.keys()
    return {key: value for key, value in settings.items() if value != defaults[key] and key not in chosen}


def _add_weights(folder: Path, request: Request) -> str:
    """Add the file that the encoder starts from; return its name, "" where it starts from nothing."""
    model = request.settings.model
    if not model.pretrained:
        return ""
    folder.mkdir(parents=True)
    given = require_weights(request) if model.weights else None
    encoder = Encoder(model, request.settings.data.image_size, load_weights=True)  # which refuses what does not fit
    if given:
        shutil.copyfile(given, folder / given.name)
        return given.name
    name = re.sub(r"[^\w.-]", "-", model.encoder) + ".safetensors"
    content = save({key: value.contiguous() for key, value in encoder.backbone.state_dict().items()})
    write_atomic(folder / name, lambda file: file.write(content))
    return name


def _add_code(folder: Path) -> None:
    """Add this repository's code, and the packages that the host may lack."""
    for name in _CODE:
        source, target = REPOSITORY / name, folder / "supcon" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        else:
            shutil.copyfile(source, target)
    for source, place in _files_of_packages():
        target = folder / "packages" / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)


def _files_of_packages() -> Iterator[tuple[Path, str]]:
    """Yield the files of the packages in `_LACKING` that are installed, each with its place below their folder."""
    for name in _LACKING:
        try:
            files = metadata.distribution(name).files or []
        except metadata.PackageNotFoundError:
            continue
        for file in files:
            if not file.parts[0].startswith("..") and "__pycache__" not in file.parts:
                yield Path(str(file.locate())), file.as_posix()
