"""A study's runs: each variant with each seed is an ordinary run, runs/STUDY-VARIANT-sSEED, made by the stages."""

from dataclasses import asdict, dataclass, replace
from functools import cache, cached_property
from operator import attrgetter
from pathlib import Path

import yaml

from supcon.cluster.tasks import Runner, Task
from supcon.errors import UserError
from supcon.run.experiment import Experiment, load_experiment, with_store
from supcon.settings import Request, Settings, open_request
from supcon.settings.parse import checked, with_weights
from supcon.settings.settings import settings_from
from supcon.settings.sources import Flat, flatten, load_resolved, load_yaml, nested, resolved_settings
from supcon.settings.training import TrainSettings
from supcon.storage.files import write_text
from supcon.study.read import Study
from supcon.training.precision import fastest_precision

# what makes the one split, and what it is scored by
_SHARED = (
    *("data.builtin", "data.folds", "data.fold_seed", "data.label_column", "data.group_column"),
    *("data.submit", "data.positive_class", "tune.metric"),
)


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
        self.study, self._root = study, root
        self.folder = root / "runs" / study.name  # the variants' configs and the study's tables
        self._kept_file = self.folder / "study.yaml"
        kept = load_yaml(self._kept_file) if self._kept_file.exists() else {"flags": {}, "train": {}}
        if not all(isinstance(kept.get(key), dict) for key in ("flags", "train")):
            raise UserError(f"{self._kept_file} is not what a study keeps: delete it, and give its settings again")
        self.flags: Flat = checked(kept["flags"], str(self._kept_file)) | with_weights(flags, root)
        self._train: Flat = checked(kept["train"], str(self._kept_file))
        self._settings = {variant: self._check(variant) for variant in study.variants}
        self._check_shared()
        self.fold_count = self._settings[study.baseline].data.folds
        for fold in (fold for plan in study.rounds for fold in plan.folds or ()):
            if fold >= self.fold_count:
                raise UserError(f"{study.path}: rounds: fold {fold}: the folds are 0 to {self.fold_count - 1}")
        self.experiment = cache(self._experiment)

    @property
    def has_precision(self) -> bool:
        """Whether the precision of all variants is chosen."""
        return bool(self._train)

    def choose_precision(self, runner: Runner) -> None:
        """Choose the precision of all variants, where it is `auto`: that in which the baseline is fastest."""
        if not self._train:
            request, log = self.shared.request, self.folder / "precision.txt"
            train = runner.call(Task("precision", fastest_train, (request,), log))
            self._train = {"train.precision": train.precision, "train.channels_last": train.channels_last}
            self.experiment.cache_clear()

    def keep(self) -> None:
        """Write what later calls start from, and each variant's config: any stage can be run from it by hand."""
        write_text(self._kept_file, yaml.safe_dump({"flags": self.flags, "train": self._train}, allow_unicode=True))
        for variant, settings in self._settings.items():
            text = yaml.safe_dump(nested(_differences(settings)), sort_keys=False, allow_unicode=True)
            write_text(self._config_file(variant), text)

    def request(self, variant: str, seed: int) -> Request:
        """Return what every stage of a run is asked to do; what a stage run by hand has set in the run stays."""
        settings, run = self._settings[variant], self._run(variant, seed)
        differences, resolved, content = _differences(settings), self._root / "runs" / run / "resolved.yaml", Flat()
        chosen = self._train if settings.train.precision == "auto" else {}
        if resolved.exists():
            content = load_resolved(resolved)
            flat = with_weights(checked(resolved_settings(content, differences), str(resolved)), self._root)
            settings = settings_from(nested(flat))
        train = {**nested(chosen).get("train", {}), "seed": seed}
        return Request(
            self._root,
            run,
            replace(settings, train=replace(settings.train, **train)),
            config=variant,
            config_settings=differences,
            measured=content.get("measured", {}),
            named=("--config", str(self._config_file(variant)), "--run", run),
        )

    @cached_property
    def shared(self) -> Experiment:
        """The baseline's with seed 0: its competition, split and metric are those of all."""
        return load_experiment(self.request(self.study.baseline, 0))

    def _experiment(self, variant: str, seed: int) -> Experiment:
        """Return a run's experiment; the competition and its split are read once for all."""
        return with_store(replace(self.shared, request=self.request(variant, seed)))

    def _run(self, variant: str, seed: int) -> str:
        return f"{self.study.name}-{variant}-s{seed}"

    def _config_file(self, variant: str) -> Path:
        return self.folder / "variants" / f"{variant}.yaml"

    def _check(self, variant: str) -> Settings:
        """Return a variant's settings: config, then the study's flags, then those given, then its own."""
        study, where = self.study, f"{self.study.path}: variants: {variant}"
        largest = max(seed for plan in study.rounds for seed in plan.seeds)
        try:
            given = checked(study.flags, "flags") | self.flags | checked(study.variants[variant], "settings")
            # a run that never exists, so that no resolved.yaml takes part, with a name as long as any
            run = f".{self._run(variant, largest)}"
            request = open_request(self._root, run, config=study.config, given={**given, "train.seed": largest})
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
        if request.settings.time_budget:
            raise UserError(f"{where}: time_budget would choose the epochs: leave it out")
        return request.settings

    def _check_shared(self) -> None:
        base = self._settings[self.study.baseline]
        for variant, settings in self._settings.items():
            for key in _SHARED:
                if attrgetter(key)(settings) != attrgetter(key)(base):
                    raise UserError(
                        f"{self.study.path}: variants: {variant}: {key} differs from the baseline's, but all variants"
                        " share one split and one metric: move it to flags"
                    )


def fastest_train(request: Request) -> TrainSettings:
    """Return a run's settings of training, with the fastest precision where it is `auto`."""
    train = request.settings.train
    return train if train.precision != "auto" else fastest_precision(load_experiment(request)).request.settings.train


def _differences(settings: Settings) -> Flat:
    """Return what differs from the defaults, by dotted key; the seed is each run's own."""
    given, defaults = flatten(asdict(settings)), flatten(asdict(Settings()))
    return {key: value for key, value in given.items() if value != defaults[key] and key != "train.seed"}
