"""Where settings come from: a config file, and the resolved.yaml of a run that has begun."""

import dataclasses
import hashlib
import os
from pathlib import Path
from typing import Any

import yaml

from supcon.errors import UserError, masked
from supcon.settings.settings import Settings

_ABOVE = Path(__file__).resolve().parents[3]
REPOSITORY = _ABOVE if (_ABOVE / "run.sh").exists() else Path.cwd()  # elsewhere the package is installed as a library

Flat = dict[str, Any]  # settings by dotted key
_BUILTIN_MARK = ".builtin"  # holds the hash of the built-in train.csv, which the mark may outlive, and its name
_RESOLVED = {"config": str, "config_settings": dict, "settings": dict}  # what resolved.yaml holds

# settings that were called otherwise in earlier versions: whoever uses an old name is told the new one
_CONTRAST = (
    "form temperature epsilon hardness prototypes scale_by_temperature"
    " projection projection_layers projection_norm projection_hidden projection_dim"
)
RENAMED = {  # old key -> new key
    **{f"pretrain.{key}": f"contrast.{key}" for key in _CONTRAST.split()},
    **{f"pretrain.{key}": f"batches.{key}" for key in ("classes_per_batch", "images_per_class", "balance")},
    "pretrain.batch_size": "batches.size",
    **{f"{stage}.warmup": "train.warmup" for stage in ("pretrain", "finetune")},
    "predict.prototypes": "predict.class_means",
    "predict.prototype_weight": "predict.class_mean_weight",
    "predict.prototype_temperature": "predict.class_mean_temperature",
}


def default_config(root: Path) -> Path:
    """Return the config of a root that names none: the built-in competitions have one of their own."""
    folder = root / "input"
    demo = is_empty(folder) or builtin_in(folder) != ""
    return REPOSITORY / "configs" / ("demo.yaml" if demo else "default.yaml")


def only_run(root: Path) -> str:
    """Return the name of the only run of `root`; empty where there is none, or several."""
    runs = [path.parent.name for path in (root / "runs").glob("*/resolved.yaml")]
    return runs[0] if len(runs) == 1 else ""


def is_empty(folder: Path) -> bool:
    """Say whether `folder` is absent or holds nothing but dot-files."""
    return not folder.exists() or all(entry.name.startswith(".") for entry in folder.iterdir())


def mark_builtin(folder: Path, name: str) -> None:
    """Mark the competition in `folder` as the built-in one of that name."""
    (folder / _BUILTIN_MARK).write_text(f"{_hash(folder)} {name}\n")


def builtin_in(folder: Path) -> str:
    """Return the name of the built-in competition that `folder` holds; empty where it holds another, or none."""
    try:
        marked, _, name = (folder / _BUILTIN_MARK).read_text().strip().partition(" ")
        return (name or "digits") if marked == _hash(folder) else ""  # version 0.1.0 knew the digits alone
    except (OSError, ValueError):
        return ""


def _hash(folder: Path) -> str:
    return hashlib.sha256((folder / "train.csv").read_bytes()).hexdigest()


def find_config(name: str) -> Path:
    """Return the file that `--config` names, here or in the repository. Raises `UserError` where there is none."""
    for candidate in (Path(name), REPOSITORY / name):
        if os.path.isfile(candidate):  # false, too, for a name too long to be one
            return candidate
    there = ", ".join(f"configs/{path.name}" for path in sorted((REPOSITORY / "configs").glob("*.yaml")))
    raise UserError(f"--config {name}: no such file here or in the repository, which has {there}")


class _Loader(yaml.SafeLoader):
    """Refuses a name that a mapping gives twice, of which PyYAML would keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen = set[str]()
        for key, _ in node.value:
            name = str(key.value)
            if name in seen and name != "<<":
                raise yaml.constructor.ConstructorError(None, None, f"{name!r} is there twice", key.start_mark)
            seen.add(name)
        return super().construct_mapping(node, deep)


def load_yaml(path: Path, holds: str = "sections such as 'data:' with settings below them") -> dict[str, Any]:
    """Return what a YAML file of names holds. Raises `UserError` where it cannot be read, or does not hold `holds`."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    except Exception as error:  # no UTF-8, a 99th of May, brackets 3,000 deep, `!!bool x`: each raises another kind
        raise UserError(f"{path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(content, dict | None):
        raise UserError(f"{path} must hold {holds}")
    return content or {}


def flatten(nested: dict[str, Any]) -> Flat:
    """Return settings by dotted key: {"train": {"seed": 1}} as {"train.seed": 1}."""
    flat: Flat = {}
    for section, values in nested.items():
        flat |= {f"{section}.{k}": v for k, v in values.items()} if isinstance(values, dict) else {str(section): values}
    return flat


def shown_settings(settings: Settings) -> Flat:
    """Return settings by dotted key, as they may be shown: no secrets, and none of the machine or the trackers."""
    flat = flatten(dataclasses.asdict(settings))
    told = {key: value for key, value in flat.items() if not key.startswith("machine.") and key != "track"}
    return {key: masked(value) if isinstance(value, str) else value for key, value in told.items()}


def nested(flat: Flat) -> dict[str, Any]:
    """Return settings by section: {"train.seed": 1} as {"train": {"seed": 1}}."""
    sections: dict[str, Any] = {}
    for key, value in flat.items():
        section, dot, name = key.partition(".")
        if dot:
            sections.setdefault(section, {})[name] = value
        else:
            sections[section] = value
    return sections


def load_resolved(path: Path) -> dict[str, Any]:
    """Return what a run's resolved.yaml holds. Raises `UserError` where it is none."""
    content = load_yaml(path)
    whole = all(isinstance(content.get(key), kind) for key, kind in _RESOLVED.items())
    if not whole or not isinstance(content.get("measured", {}), dict):
        raise UserError(f"{path} is not a run's settings: restore it or use another --run")
    return content


def chosen_precision(content: Flat) -> Flat:
    """Return the precision and memory format that a resolved.yaml holds; nothing while they are to be chosen."""
    then = content["settings"].get("train", {})
    return {key: then[key] for key in ("precision", "channels_last") if key in then}


def kept_store(content: Flat) -> str:
    """Return what a resolved.yaml says is kept of the images: pixels in an earlier version, which knew nothing else."""
    return str(content["settings"].get("data", {}).get("store", "pixels"))


def resolved_settings(content: dict[str, Any], config_now: Flat) -> Flat:
    """Return the run's settings, with what the user has edited in the config since on top."""
    settings = {"data.store": kept_store(content), **flatten(content["settings"])}
    config_then = content["config_settings"]
    defaults = flatten(dataclasses.asdict(Settings()))
    for key in config_then.keys() | config_now.keys():
        if config_now.get(key, defaults.get(key)) != config_then.get(key, defaults.get(key)):
            settings[key] = config_now.get(key, defaults.get(key))
    return settings


def refuse_old_name(key: str, where: str, cure: str = "rename it there") -> None:
    """Raise `UserError`, with the cure, where `key`, which stands in `where`, is the old name of a setting."""
    if key in RENAMED:
        raise UserError(f"{where}: {key} is called {RENAMED[key]} now: {cure}")
