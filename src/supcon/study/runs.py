"""A study's runs: each variant with each seed is an ordinary run, runs/STUDY-VARIANT-sSEED, made by the stages."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from supcon.errors import UserError
from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import Settings, parse
from supcon.settings.parse import absolute
from supcon.settings.sources import Flat, flatten, load_yaml
from supcon.storage.files import write_text
from supcon.study.read import Study
from supcon.training.precision import fastest_precision

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
    """The runs of a study below one root. Every variant's settings are checked before anything is written.

    What `keep` writes to runs/STUDY is where a later call starts from: the settings given on the command line, and the
    precision, which is chosen once for all variants.
    """

    def __init__(self, study: Study, root: Path, flags: Flat) -> None:
        """Take `flags` as settings of all variants, over the study file's own flags and those of earlier calls."""
        self._study, self._root = study, root
        kept = load_yaml(self._kept_file) if self._kept_file.exists() else {"flags": {}, "train": {}}
        if not all(isinstance(kept.get(key), dict) for key in ("flags", "train")):
            raise UserError(f"{self._kept_file} is not what a study keeps: delete it, and give its settings again")
        if weights := flags.get("model.weights"):  # a later call may start from another folder
            flags = {**flags, "model.weights": str(absolute("--model.weights", weights))}
        self.flags: Flat = {**kept["flags"], **flags}
        self._train: Flat = kept["train"]
        self._settings = {variant: self._check(variant) for variant in study.variants}
        self._check_shared()
        self.fold_count = self._settings[study.baseline].data.folds
        for fold in (fold for plan in study.rounds for fold in plan.folds or ()):
            if fold >= self.fold_count:
                raise UserError(f"{study.path}: rounds: fold {fold}: the folds are 0 to {self.fold_count - 1}")
        self._drafts = TemporaryDirectory(prefix="study-")  # a call that only looks, or is refused, leaves no configs
        self._configs = Path(self._drafts.name)
        self._write_configs()
        self.experiment = cache(self._experiment)

    @property
    def folder(self) -> Path:
        """runs/STUDY: the variants' configs and the study's tables."""
        return self._root / "runs" / self._study.name

    @property
    def _kept_file(self) -> Path:
        return self.folder / "study.yaml"

    def settle_precision(self) -> None:
        """Choose the precision of all variants, where it is `auto`: that in which the baseline is fastest."""
        if not self._train:
            train = fastest_precision(self.shared).call.settings.train
            self._train = {"train.precision": train.precision, "train.channels_last": train.channels_last}

    def keep(self) -> None:
        """Write what later calls start from, and each variant's config: any stage can be run from it by hand."""
        write_text(self._kept_file, yaml.safe_dump({"flags": self.flags, "train": self._train}, allow_unicode=True))
        self._configs = self.folder / "variants"
        self._write_configs()

    def arguments(self, variant: str, seed: int) -> list[str]:
        """Return the command line that every stage of a run starts with."""
        config = str(self._configs / f"{variant}.yaml")
        words = ["--root", str(self._root), "--config", config, "--run", self._run(variant, seed)]
        chosen = self._train if self._settings[variant].train.precision == "auto" else {}
        return [*words, *_words({"train.seed": seed, **chosen})]

    @cached_property
    def shared(self) -> Experiment:
        """The baseline's with seed 0: its competition, split and metric are those of all."""
        return load_experiment(parse("", self.arguments(self._study.baseline, 0)))

    def _experiment(self, variant: str, seed: int) -> Experiment:
        """Return a run's experiment; the competition and its split are read once for all."""
        return dataclasses.replace(self.shared, call=parse("", self.arguments(variant, seed)))

    def _run(self, variant: str, seed: int) -> str:
        return f"{self._study.name}-{variant}-s{seed}"

    def _write_configs(self) -> None:
        for variant, settings in self._settings.items():
            text = yaml.safe_dump(_differences(settings), sort_keys=False, allow_unicode=True)
            path = self._configs / f"{variant}.yaml"
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                write_text(path, text)

    def _check(self, variant: str) -> Settings:
        """Return a variant's settings: config, then the study's flags, then those given, then its own."""
        study = self._study
        largest = max(seed for plan in study.rounds for seed in plan.seeds)
        # a run that never exists, so that no resolved.yaml takes part, with a name as long as any
        where = ["--root", str(self._root), "--config", study.config, "--run", f".{self._run(variant, largest)}"]
        given = {**study.flags, **self.flags, **study.variants[variant], "train.seed": largest}
        try:
            settings = parse("", [*where, *_words(given)]).settings
        except UserError as error:
            raise UserError(f"{study.path}: variants: {variant}: {error}") from None
        if settings.time_budget:
            raise UserError(f"{study.path}: variants: {variant}: time_budget would choose the epochs: leave it out")
        return settings

    def _check_shared(self) -> None:
        base = self._settings[self._study.baseline]
        for variant, settings in self._settings.items():
            for key in _SHARED:
                if attrgetter(key)(settings) != attrgetter(key)(base):
                    raise UserError(
                        f"{self._study.path}: variants: {variant}: {key} differs from the baseline's, but all variants"
                        " share one split and one metric: move it to flags"
                    )


def read_flags(words: Sequence[str]) -> Flat:
    """Return the settings of a command line, --KEY=VALUE or --KEY VALUE, by key. Raises `UserError` for other words."""
    flags, left = Flat(), list(words)
    while left:
        key, equals, value = left.pop(0).partition("=")
        if not key.startswith("--") or not (equals or left):
            raise UserError(f"{key}: give settings as --KEY VALUE (--help lists every option)")
        flags[key.removeprefix("--")] = value if equals else left.pop(0)
    return flags


def _words(settings: Flat) -> list[str]:
    return [
        f"--{key}={value if isinstance(value, str) else json.dumps(value)}"  # true, not True
        for key, value in settings.items()
    ]


def _differences(settings: Settings) -> dict[str, Any]:
    """Return what differs from the defaults, by section."""
    given, defaults = flatten(dataclasses.asdict(settings)), flatten(dataclasses.asdict(Settings()))
    found: dict[str, Any] = {} if settings.nproc == 1 else {"nproc": settings.nproc}
    for name, value in given.items():
        section, dot, key = name.partition(".")
        if dot and value != defaults[name] and name != "train.seed":
            found.setdefault(section, {})[key] = value
    return found
