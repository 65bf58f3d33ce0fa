"""The JSON files of a bundle: the settings that prediction needs, classes, folds, and the decision."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from supcon.competition.form import Form
from supcon.decision.merge import CLASS_MEANS, HEAD, NEIGHBOURS, Shares, head_and_class_means
from supcon.decision.rule import Rule
from supcon.environment import outside
from supcon.errors import UserError
from supcon.images.augment.views import View, prediction_views
from supcon.images.reading import fixed_reading
from supcon.images.store import How, how_for
from supcon.settings.settings import Settings, settings_from
from supcon.storage.files import read_checked_json, read_json, sha256_file

MANIFEST, DECISION = "bundle.json", "decision.json"
CLASSIFIER = "classifier.safetensors"  # of each model, with these where the decision needs them:
ENCODER = "encoder.safetensors"  # beside the models, where all share a frozen one
CLASS_MEANS_FILE, NEIGHBOURS_FILE = "class_means.safetensors", "neighbours.safetensors"
PARTS = "encoder", "classifiers"  # of each model in another format than torch: a file each, in this order
_COPY = "copy the whole bundle again"


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
    members: list[Shares]  # what the rule merges, in its order
    files: dict[str, str] = field(default_factory=dict)  # SHA-256; none in a bundle of an earlier version
    format: str = "torch"  # what the models run on
    precision: str = "float32"  # in which they compute

    def file(self, name: str) -> Path:
        """Return the path of a file. Raises `UserError` where it is missing, or not what was bundled."""
        return _whole(self.folder / name, self.files.get(name, ""))

    @property
    def classifiers(self) -> list[str]:
        """What each model predicts by, in the order of its outputs; the head comes first."""
        return [HEAD, *(name for name in (CLASS_MEANS, NEIGHBOURS) if any(name in shares for shares in self.members))]

    @property
    def columns(self) -> list[str]:
        """The columns of the submission."""
        return [self.id_column, *self.form.targets]

    @property
    def side(self) -> int:
        """Side of the squares that the network sees, pixels."""
        return self.settings.data.test_size or self.settings.data.image_size

    @cached_property
    def how(self) -> How:
        """The way of a test image from its file to what views are made of: that of the run's held-out images."""
        return how_for(self.settings.data, self.side, fixed_reading(self.settings.data))

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
    kept = {"store": "pixels"}  # an earlier version knew nothing else
    names = ("classes", "id_column", "models", "log_odds_shifts", "unreadable_logits")
    try:
        settings, rule = (
            settings_from(content["settings"] | {"data": kept | content["settings"]["data"]}),
            Rule.from_json(decision["rule"]),
        )
        members = content.get("members") or [head_and_class_means(settings.predict.class_mean_weight)]
        if settings.model.frozen and content.get("format", "torch") == "torch":  # its weights are a file of the bundle
            weights = str(_whole(folder / ENCODER, files.get(ENCODER, "")))
            settings = replace(settings, model=replace(settings.model, weights=weights))
        form, parts = Form(**content["form"]), {name: content[name] for name in names}
        runtime = {
            "format": content.get("format", "torch"),
            "precision": content.get("precision", settings.train.precision),
        }
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise UserError(f"{folder / MANIFEST} or {DECISION} beside it is damaged ({error}): {_COPY}") from None
    return Bundle(
        folder=folder, settings=settings, rule=rule, members=members, form=form, files=files, **parts, **runtime
    )


def not_loaded(path: Path, error: Exception) -> UserError:
    """Return what to raise for a model's file that its runtime does not load."""
    reason = " ".join(str(error).split())[-200:]
    return UserError(f"{path} could not be loaded ({reason}): {_COPY}, or install the versions that README.md names")


def _whole(path: Path, sha256: str) -> Path:
    """Return the path of a file, if it is there with this hash; "" is any."""
    if not path.is_file():
        raise UserError(f"{path} is missing: {_COPY}")
    if sha256 and sha256_file(path) != sha256:
        raise UserError(f"{path} is damaged: {_COPY}")
    return path


def version_warnings(folder: Path) -> list[str]:
    """Return a warning for each package whose version is outside the bundle's ranges."""
    ranges = read_json(folder / MANIFEST, _COPY).get("ranges", {})
    return [f"warning: {line}: labels may differ" for line in outside(ranges)]
