"""The study file: what is compared with what, and in which rounds."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from supcon.errors import UserError
from supcon.settings.sources import REPOSITORY, Flat, load_yaml

_KEYS = ("config", "flags", "baseline", "over", "variants", "rounds")
_ROUND_KEYS = ("folds", "seeds", "keep")
_ALONE = ("nproc", "track")  # settings of no section
_VALUES = (bool, int, float, str, type(None))
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


@dataclass(frozen=True)
class Round:
    """One round of screening: the cells that every variant still in the study is judged by."""

    folds: tuple[int, ...] | None  # None: all
    seeds: tuple[int, ...]
    keep: int | float | None = None  # contenders that go on: a number, or a part of them; None: all

    def kept(self, contenders: int) -> int:
        """Return how many of `contenders` go on to the next round: at least one."""
        if self.keep is None:
            return contenders
        number = self.keep if isinstance(self.keep, int) else round(self.keep * contenders)
        return min(contenders, max(1, number))


@dataclass(frozen=True)
class Study:
    """A study file's content, checked for its form; settings are checked by `supcon.study.runs`."""

    path: Path
    name: str
    config: str
    flags: Flat
    baseline: str
    variants: dict[str, Flat]  # name -> settings by dotted key, over config and flags
    rounds: tuple[Round, ...]
    over: dict[str, str] = field(default_factory=dict)  # variants that are compared with another one than the baseline

    @property
    def compared_with(self) -> set[str]:
        """The variants that others are compared with, the baseline among them: no contenders."""
        return {self.baseline, *self.over.values()}


def read_study(file: str, name: str = "") -> Study:
    """Read a study file, looked up from the working directory, then the repository; `name` defaults to its stem.

    Raises `UserError`, naming the file and the key, for anything that is not understood.
    """
    path = next((path for path in (Path(file), REPOSITORY / file) if path.is_file()), None)
    if path is None:
        raise UserError(f"{file}: no such study file here or in the repository")
    name = name or path.stem
    if not _NAME.fullmatch(name):
        raise UserError(f"--run {name!r} is not a folder name: use letters, digits, '-', '_' and '.'")
    content = load_yaml(path, holds=f"the keys {', '.join(_KEYS)}")
    _refuse_unknown(str(path), content, _KEYS)
    variants = {} if content.get("variants") is None else content["variants"]
    if not isinstance(variants, dict):
        raise UserError(f"{path}: variants must be names with settings, such as {{ce: {{pretrain.epochs: 0}}}}")
    if not variants:
        raise UserError(f"{path}: variants is empty: name the baseline and at least one variant to judge")
    for variant in variants:
        if not isinstance(variant, str) or not _NAME.fullmatch(variant):
            raise UserError(
                f"{path}: variants: {variant!r} is not a folder name: use letters, digits, '-', '_' and '.', in quotes"
                " where YAML reads a number or a truth value"
            )
    baseline = content.get("baseline")
    if not isinstance(baseline, str) or baseline not in variants:
        raise UserError(f"{path}: baseline {baseline!r} is none of the variants: {', '.join(variants)}")
    if not isinstance(content.get("config"), str):
        raise UserError(f"{path}: config is missing: name the file that every variant starts from")
    settings = {variant: _settings(path, f"variants: {variant}", value) for variant, value in variants.items()}
    flags = _settings(path, "flags", content.get("flags"))
    rounds = content.get("rounds")
    if not isinstance(rounds, list) or not rounds:
        raise UserError(f"{path}: rounds is missing: give a list such as [{{folds: all, seeds: [0]}}]")
    played = tuple(_round(path, f"rounds, number {number}", entry) for number, entry in enumerate(rounds, 1))
    over = _over(path, content.get("over"), variants)
    return Study(path, name, content["config"], flags, baseline, settings, played, over)


def _refuse_unknown(where: str, content: dict[Any, Any], known: Sequence[str]) -> None:
    for key in content:
        if key not in known:
            raise UserError(f"{where}: unknown key {key!r}: the keys are {', '.join(known)}")


def _over(path: Path, value: object, variants: Collection[str]) -> dict[str, str]:
    over = {} if value is None else value
    if not isinstance(over, dict):
        raise UserError(f"{path}: over: give variants with what each is compared with, such as {{mixup: no-mixup}}")
    for name in (str(name) for pair in over.items() for name in pair):
        if name not in variants:
            raise UserError(f"{path}: over: {name} is none of the variants: {', '.join(variants)}")
    return over


def _settings(path: Path, where: str, value: object) -> Flat:
    settings = {} if value is None else value
    if not isinstance(settings, dict) or any("." not in str(key) and key not in _ALONE for key in settings):
        raise UserError(f"{path}: {where}: give settings by dotted key, such as {{pretrain.epochs: 0}}")
    for key, setting in settings.items():
        if not isinstance(setting, _VALUES):
            raise UserError(f"{path}: {where}: {key}: {str(setting)[:50]} is no number, word or truth value")
    if "train.seed" in settings:
        raise UserError(f"{path}: {where}: train.seed is set by the rounds: list the seeds there")
    return {str(key): setting for key, setting in settings.items()}


def _round(path: Path, where: str, entry: object) -> Round:
    if not isinstance(entry, dict):
        raise UserError(f"{path}: {where}: give {{folds: [0], seeds: [0], keep: 0.34}}")
    _refuse_unknown(f"{path}: {where}", entry, _ROUND_KEYS)
    folds = None if entry.get("folds") == "all" else _numbers(path, f"{where}: folds", entry.get("folds"), ", or all")
    keep = entry.get("keep")
    if not (keep is None or (type(keep) is int and keep >= 1) or (type(keep) is float and 0 < keep < 1)):
        raise UserError(f"{path}: {where}: keep {keep!r} must be a whole number from 1, or a part between 0 and 1")
    return Round(folds, _numbers(path, f"{where}: seeds", entry.get("seeds"), ""), keep)


def _numbers(path: Path, where: str, value: object, otherwise: str) -> tuple[int, ...]:
    if not isinstance(value, list) or not value or any(type(number) is not int or number < 0 for number in value):
        raise UserError(f"{path}: {where} {value!r}: give a list of whole numbers from 0, such as [0, 1]{otherwise}")
    return tuple(dict.fromkeys(value))
