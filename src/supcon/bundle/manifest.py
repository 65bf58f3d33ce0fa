"""The JSON files of a bundle: the settings that prediction needs, classes, folds, and the decision."""

import importlib
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from supcon.competition.form import Form
from supcon.decision.rule import Rule
from supcon.errors import UserError
from supcon.images.augment.views import View, prediction_views
from supcon.images.reading import Reading, fixed_reading
from supcon.settings.settings import Settings, settings_from
from supcon.storage.files import read_checked_json, read_json, sha256_file

MANIFEST, DECISION = "bundle.json", "decision.json"
CLASSIFIER, CLASS_MEANS_FILE = "classifier.safetensors", "class_means.safetensors"  # of each model
_COPY = "copy the whole bundle again"
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
    files: dict[str, str] = field(default_factory=dict)  # SHA-256; none in a bundle of an earlier version

    def file(self, name: str) -> Path:
        """Return the path of a file. Raises `UserError` where it is missing, or not what was bundled."""
        return _whole(self.folder / name, self.files.get(name, ""))

    @property
    def columns(self) -> list[str]:
        """The columns of the submission."""
        return [self.id_column, *self.form.targets]

    @property
    def side(self) -> int:
        """Side of the squares that the network sees, pixels."""
        return self.settings.data.test_size or self.settings.data.image_size

    @cached_property
    def reading(self) -> Reading:
        """How the numbers in the images' files become pixels: as in training."""
        return fixed_reading(self.settings.data)

    @cached_property
    def views(self) -> dict[str, View]:
        """The test-time views of an image, by name."""
        return prediction_views(self.settings.augment, self.settings.predict.views)


def read_bundle(folder: Path) -> Bundle:
    """Read a bundle's bundle.json and decision.json. Raises `UserError` where one is missing or damaged."""
    for name in (MANIFEST, DECISION):
        _whole(folder / name, "")
    content = read_checked_json(folder / MANIFEST, _COPY)
    files = content.get("files", {})
    decision = read_json(_whole(folder / DECISION, files.get(DECISION, "")), _COPY)
    names = ("classes", "id_column", "models", "log_odds_shifts", "unreadable_logits")
    try:
        settings, rule = settings_from(content["settings"]), Rule.from_json(decision["rule"])
        form, parts = Form(**content["form"]), {name: content[name] for name in names}
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{folder / MANIFEST} or {DECISION} beside it is damaged ({error}): {_COPY}") from None
    return Bundle(folder=folder, settings=settings, rule=rule, form=form, files=files, **parts)


def _whole(path: Path, sha256: str) -> Path:
    """Return the path of a file, if it is there with this hash; "" is any."""
    if not path.is_file():
        raise UserError(f"{path} is missing: {_COPY}")
    if sha256 and sha256_file(path) != sha256:
        raise UserError(f"{path} is damaged: {_COPY}")
    return path


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
