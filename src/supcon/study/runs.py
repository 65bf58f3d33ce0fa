"""A study's runs: each variant with each seed is an ordinary run, runs/STUDY-VARIANT-sSEED, made by the stages."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path
from typing import Any

import yaml

from supcon.artifacts.files import write_text
from supcon.config import Settings, parse
from supcon.errors import UserError
from supcon.experiment import Experiment, load_experiment
from supcon.precision import fastest_precision
from supcon.study.read import Study

# what makes the one split, and what it is scored by
_SHARED = ("data.folds", "data.fold_seed", "data.label_column", "data.group_column", "tune.metric")


@dataclass(frozen=True)
class Cell:
    """One fold of one run: what is trained and scored in one piece."""

    variant: str
    seed: int
    fold: int

    def __str__(self) -> str:
        return f"{self.variant}, seed {self.seed}, fold {self.fold}"


class Runs:
    """The runs of a study below one root. Every variant's settings are checked before anything is written."""

    def __init__(self, study: Study, root: Path, flags: Sequence[str] = ()) -> None:
        """Take `flags` as settings of all variants, over the study file's own flags."""
        self._study, self._root = study, root
        self._settings = {variant: self._check(variant, flags) for variant in study.variants}
        base = self._settings[study.baseline]
        for variant, settings in self._settings.items():
            for key in _SHARED:
                if attrgetter(key)(settings) != attrgetter(key)(base):
                    raise UserError(
                        f"{study.path}: variants: {variant}: {key} differs from the baseline's, but all variants share"
                        " one split and one metric: move it to flags"
                    )
        self.fold_count = base.data.folds
        for fold in (fold for plan in study.rounds for fold in plan.folds or ()):
            if fold >= self.fold_count:
                raise UserError(f"{study.path}: rounds: fold {fold}: the folds are 0 to {self.fold_count - 1}")
        self.experiment = cache(self._experiment)

    @property
    def folder(self) -> Path:
        """runs/STUDY: the variants' configs and the study's tables."""
        return self._root / "runs" / self._study.name

    def write_configs(self) -> None:
        """Write each variant's config, variants/NAME.yaml: any stage can be run from it by hand."""
        for variant, settings in self._settings.items():
            text = yaml.safe_dump(_differences(settings), sort_keys=False, allow_unicode=True)
            path = self._config(variant)
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)

    def arguments(self, variant: str, seed: int) -> list[str]:
        """Return the command line that every stage of a run starts with."""
        run = f"{self._study.name}-{variant}-s{seed}"
        config = str(self._config(variant))
        return ["--root", str(self._root), "--config", config, "--run", run, f"--train.seed={seed}"]

    def _experiment(self, variant: str, seed: int) -> Experiment:
        """Return a run's experiment; the competition and its split are read once for all."""
        call = parse("", self.arguments(variant, seed))
        return fastest_precision(dataclasses.replace(self.shared, call=call))

    @cached_property
    def shared(self) -> Experiment:
        """The baseline's with seed 0: its competition, split and metric are those of all."""
        return load_experiment(parse("", self.arguments(self._study.baseline, 0)))

    def _config(self, variant: str) -> Path:
        return self.folder / "variants" / f"{variant}.yaml"

    def _check(self, variant: str, flags: Sequence[str]) -> Settings:
        """Return a variant's settings: config, then the study's flags, then `flags`, then its own."""
        study = self._study
        own = [_flags(study.flags), flags, _flags(study.variants[variant])]
        # a run that never exists, so that no resolved.yaml takes part
        where = ["--root", str(self._root), "--config", study.config, "--run", f".{study.name}"]
        try:
            return parse("", where + [word for words in own for word in words]).settings
        except UserError as error:
            raise UserError(f"{study.path}: variants: {variant}: {error}") from None


def _flags(settings: dict[str, Any]) -> list[str]:
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"  # true, not True
        for key, value in settings.items()
    ]


def _differences(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return what differs from the defaults, by section; a time budget is none: variants share their passes."""
    given = dataclasses.asdict(settings)
    sections = {
        section: {key: given[section][key] for key, default in defaults.items() if given[section][key] != default}
        for section, defaults in dataclasses.asdict(Settings()).items()
        if isinstance(defaults, dict)
    }
    return {section: values for section, values in sections.items() if values}
