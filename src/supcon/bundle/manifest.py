"""The JSON files of a bundle: the settings that prediction needs, classes, folds, and the decision."""

import importlib
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from supcon.competition.form import Form
from supcon.decision.rule import Rule
from supcon.errors import UserError
from supcon.images.augment.views import View, prediction_views
from supcon.settings.settings import Settings, settings_from
from supcon.storage.files import read_json

MANIFEST, DECISION = "bundle.json", "decision.json"
CLASSIFIER, CLASS_MEANS_FILE = "classifier.safetensors", "class_means.safetensors"  # of each model
RANGES = {  # package: lowest version, first version that is too new
    "torch": ("2.6", "3"),
    "timm": ("1.0.9", "1.1"),
    "numpy": ("1.26", "3"),
    "pandas": ("2.2", "4"),
    "cv2": ("4.11", "6"),
    "safetensors": ("0.4.5", "1"),
}


@dataclass(frozen=True)
class Bundle:
    """The content of a bundle's JSON files."""

    folder: Path
    settings: Settings
    classes: list[str]
    id_column: str  # of sample_submission.csv
    form: Form  # of what stands beside it
    models: list[str]  # folders of the models: each fold's, then that of the model on all rows if there is one
    log_odds_shifts: list[list[float]]  # [models][classes]: added to a model's logits, gives natural-prior log-odds
    unreadable_logits: list[list[float]]  # [models][classes]: used for an image that cannot be read
    rule: Rule

    @property
    def columns(self) -> list[str]:
        """The columns of the submission."""
        return [self.id_column, *self.form.targets]

    @property
    def side(self) -> int:
        """Side of the squares that the network sees, pixels."""
        return self.settings.data.test_size or self.settings.data.image_size

    @cached_property
    def views(self) -> dict[str, View]:
        """The test-time views of an image, by name."""
        return prediction_views(self.settings.augment, self.settings.predict.views)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's bundle.json and decision.json. Raises `UserError` where one is missing or damaged."""
    for name in (MANIFEST, DECISION):
        if not (folder / name).is_file():
            raise UserError(f"{folder / name} is missing: copy the whole bundle again")
    content = read_json(folder / MANIFEST)
    settings, rule = settings_from(content["settings"]), Rule.from_json(read_json(folder / DECISION)["rule"])
    names = ("classes", "id_column", "models", "log_odds_shifts", "unreadable_logits")
    rest = {name: content[name] for name in names}
    return Bundle(folder=folder, settings=settings, rule=rule, form=Form(**content["form"]), **rest)


def version_warnings() -> list[str]:
    """Return a warning for each package whose version is outside RANGES."""
    lines = []
    for name, (first, beyond) in RANGES.items():
        version = str(importlib.import_module(name).__version__)
        if not _numbers(first) <= _numbers(version) < _numbers(beyond):
            lines.append(f"warning: {name} {version} is outside {first} <= {name} < {beyond}: labels may differ")
    return lines


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3]]
