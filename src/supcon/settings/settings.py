"""Every setting of a run: typed, documented, with default and bounds. `--help` is made of them."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from supcon.errors import UserError
from supcon.settings.bounds import bounded
from supcon.settings.training import BatchSettings, ContrastSettings, FinetuneSettings, PretrainSettings, TrainSettings


@dataclass(frozen=True)
class DataSettings:
    """How the host's files become rows and pixels."""

    builtin: Literal["auto", "digits", "longtail50", "fashion"] = "auto"
    """The built-in competition that is asked for, written where input/ is empty; auto: whatever input/ holds, digits
    where it is empty."""
    folds: int = bounded(5, 2, 1000)
    """Number of folds in folds/folds.csv."""
    fold_seed: int = bounded(0, 0, 4_294_967_196)
    """Seed of the split, when folds.csv is made."""
    id_column: str = ""
    """Id column of train.csv, and of test.csv where it lacks the sample's; empty: the one called as in
    sample_submission.csv, else the only one that names images."""
    image_column: str = ""
    """Column of train.csv and test.csv that names the image; empty: the id, or the one column that names images."""
    label_column: str = ""
    """Label column of train.csv; empty: found by the columns of sample_submission.csv."""
    group_column: str = ""
    """Column of train.csv whose equal values never cross folds (a patient, a track); empty: no groups."""
    class_level: int = bounded(0, 0, 100)
    """Where folders are classes and nest: the level whose names are the classes, 1 for the folders next below train/
    (or input/); 0: the only level whose names differ."""
    label_spelling: Literal["auto", "merge", "keep"] = "auto"
    """Labels that differ in case, blanks or the spelling of numbers alone: merge: one class; keep: classes of their
    own; auto: one class, unless they are single letters."""
    submit: Literal["auto", "label", "probability"] = "auto"
    """What the sample's column holds where it has one beside the id: labels, or the probability of one class; auto: as
    its cells tell."""
    positive_class: str = ""
    """Class whose probability the sample's one column holds; empty: the one called 1, true, yes or like the column."""
    rare_classes: Literal["error", "train_only"] = "error"
    """Classes with fewer rows (or groups) than folds: an error, or fold -1: in every training set, never scored."""
    bad_images: Literal["error", "skip"] = "error"
    """Unreadable and absent images: an error, or left out of training; such test rows get the class shares."""
    pixel_range: str = "format"
    """Which numbers in the files become black and white: format, the ends of their number format; data, the 0.1th and
    99.9th percentile of the training images; or LOW,HIGH, as --data.pixel_range=-35,0."""
    bands: str = ""
    """Bands of the files that become red, green and blue, counted from 1, such as 4,3,2; or one band; empty: the first
    three."""
    pixel_limit: int = bounded(178_000_000, 1, 100_000_000_000)
    """Pixels of an image beyond which it is refused as a decompression bomb; a pixel takes 3 bytes and more."""
    image_size: int = bounded(224, 8, 4096)
    """Side of the training images, pixels."""
    test_size: int = bounded(0, 0, 4096)
    """Side of the images at prediction, pixels; 0: image_size."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How an image that is not square becomes square."""
    shots: int = bounded(0, 0, 1_000_000)
    """Training rows kept of each class, drawn by train.seed; 0: all. To study what a recipe makes of little data."""

    @property
    def fixed_range(self) -> tuple[float, float] | None:
        """LOW and HIGH of `pixel_range`; None where it is no such pair. Raises `UserError` for what it cannot be."""
        if self.pixel_range in ("format", "data"):
            return None
        try:
            low, high = (float(word) for word in self.pixel_range.split(","))
        except ValueError:
            low = high = math.nan
        if not (low < high and math.isfinite(high - low)):
            raise UserError(
                f"--data.pixel_range {self.pixel_range!r} is neither format, data nor two numbers LOW,HIGH such as"
                " 0,4095, the smaller one first"
            )
        return low, high

    @property
    def band_numbers(self) -> tuple[int, ...]:
        """The numbers in `bands`. Raises `UserError` where they are not one or three."""
        words = self.bands.split(",") if self.bands else []
        if len(words) not in (0, 1, 3) or not all(re.fullmatch(r" *0*[1-9][0-9]{0,4} *", word) for word in words):
            raise UserError(f"--data.bands {self.bands!r} is neither one band nor three, counted from 1, such as 4,3,2")
        return tuple(map(int, words))


@dataclass(frozen=True)
class AugmentSettings:
    """The invariances of the images, declared once: training views and test-time views both follow."""

    hflip: bool = True
    """Mirrored left to right it is still the same class."""
    vflip: bool = False
    """Mirrored top to bottom it is still the same class."""
    rotate90: bool = False
    """Turned by 90 degrees it is still the same class."""
    shift: float = bounded(0.0, 0, 0.5)
    """Largest shift, as a part of the side."""
    scale: float = bounded(0.0, 0, 0.9)
    """Largest change of size, as a part of 1."""
    rotate: float = bounded(0.0, 0, 180)
    """Largest rotation, degrees."""
    crop: float = bounded(1.0, 0.01, 1)
    """Smallest area of a random resized crop, as a part of the image; 1: no such crop."""
    color: float = bounded(0.0, 0, 1)
    """Jitter of brightness, contrast and saturation; hue gets a quarter of it."""
    gray: float = bounded(0.0, 0, 1)
    """Probability of a grey image."""
    blur: float = bounded(0.0, 0, 1)
    """Probability of a Gaussian blur."""
    erase: float = bounded(0.0, 0, 1)
    """Probability that a rectangle is erased."""
    on_device: bool = False
    """Make the random views in batches on the training device, not one by one in loader processes: for a GPU that waits
    for these. The ranges are the same, the views are others."""


@dataclass(frozen=True)
class ModelSettings:
    """The encoder."""

    encoder: str = "tf_efficientnet_lite0"
    """Any timm model name."""
    pretrained: bool = True
    """Start from pretrained weights (the hub's, or `weights`)."""
    weights: str = ""
    """A file to start from instead of the hub: timm's, another trainer's checkpoint, or the encoder or classifier of a
    run on another competition."""
    drop_path: float = bounded(0.0, 0, 0.9)
    """Stochastic depth."""
    dropout: float = bounded(0.0, 0, 0.9)
    """Dropout before the classifier."""


@dataclass(frozen=True)
class PseudoSettings:
    """A second round: both training stages also learn the test and held-out rows that an earlier run is sure of."""

    run: str = ""
    """The earlier run, on the same split; empty: none. Each fold learns what that run's model of the fold says."""
    share: float = bounded(0.5, 0.001, 1)
    """Part of the rows of each predicted class that get a label, the surest first, at least one row."""
    min_confidence: float = bounded(0.5, 0, 1)
    """Smallest probability of a label, calibrated on held-out rows of the other folds."""


@dataclass(frozen=True)
class PredictSettings:
    """Prediction of out-of-fold and test rows."""

    views: int = bounded(4, 1, 64)
    """Test-time views at most: the plain image first, then what `augment` declares."""
    batch_size: int = bounded(128, 1, 1_000_000)
    """Images a batch."""
    class_means: bool = True
    """Also predict by the class means of the training rows' features, at one more forward pass of these rows."""
    class_mean_weight: float = bounded(0.0, 0, 1)
    """Weight of the class means' log-probabilities beside the head's, from 0 (the head alone) to 1."""
    class_mean_temperature: float = bounded(0.1, 0.001, 100)
    """What cosines to the class means are divided by."""
    embeddings: int = bounded(5000, 0, 10_000_000)
    """Rows of each part (training, held out, test) whose embeddings are kept for the report, drawn by train.seed, at
    most; 0: none."""


@dataclass(frozen=True)
class TuneSettings:
    """The decision from logits to labels or probabilities."""

    metric: Literal["macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "log_loss", "roc_auc"] = (
        "macro_f1"
    )
    """The host's metric: decisions are tuned for it and scores reported in it. Where the host asks for one class's
    probability, roc_auc is taken unless log_loss is named."""
    runs: list[str] = field(default_factory=list)
    """Runs to blend in place of the run's own folds, as --runs A B of tune and ensemble sets it."""
    trials: int = bounded(100, 1, 1_000_000)
    """Optuna trials of one search."""
    seconds: float = bounded(0.0, 0, 10_000_000)
    """Seconds of one search at most; the decision then depends on the machine's speed. 0: `trials` alone count."""
    storage: str = ""
    """Where the searches over all rows are kept for others to open or to share: a URL such as sqlite:///trials.db, or
    the path of a journal file; default: runs/NAME/optuna.journal, made anew each time."""
    workers: int = bounded(1, 1, 1024)
    """Processes that share each search over all rows; with more than 1 the decision depends on their timing."""
    shrinkage: float = bounded(0.02, 0, 100)
    """Cost in the metric of a mean squared log-threshold of 1: draws the thresholds toward none."""
    bootstrap: int = bounded(1000, 10, 1_000_000)
    """Resamples behind intervals and standard errors."""
    seed: int = bounded(0, 0, 4_294_967_295)
    """Seed of the searches and resamples."""


@dataclass(frozen=True)
class MachineSettings:
    """The machine at hand. Nothing here is part of a run's fingerprint."""

    device: str = "auto"
    """torch device; auto: the GPU when there is one."""
    workers: int = bounded(-1, -1, 1024)
    """Loader processes of each training process; -1: as many as its share of the cores, none where
    that is one; 0: none."""
    threads: int = bounded(0, 0, 1024)
    """Training threads of each training process; 0: its share of the cores. Never depends on `workers`."""


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    pseudo: PseudoSettings = field(default_factory=PseudoSettings)
    contrast: ContrastSettings = field(default_factory=ContrastSettings)
    batches: BatchSettings = field(default_factory=BatchSettings)
    pretrain: PretrainSettings = field(default_factory=PretrainSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    predict: PredictSettings = field(default_factory=PredictSettings)
    tune: TuneSettings = field(default_factory=TuneSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)
    nproc: int = field(
        default=1,
        metadata={
            "bounds": (1, 1024),
            "help": "Processes, each on a GPU of its own where there are some, that share every batch of pretrain and"
            " finetune. Nothing here is fingerprinted: an interrupted stage goes on with any number.",
        },
    )
    time_budget: str = field(
        default="",
        metadata={
            "help": "Time for all folds, such as 90m or 2h30m: `doctor`, with which `all` begins, fits the epochs"
            " for one process, fold by fold (--jobs and --nproc end sooner)."
        },
    )

    @property
    def shares_schedule(self) -> bool:
        """Whether both training stages go through one schedule of the learning rate."""
        return self.train.one_schedule and self.pretrain.epochs > 0 and self.finetune.mode == "full"


def settings_from(sections: Mapping[str, Any]) -> Settings:
    """Return settings by section, {"train": {"seed": 1}}, as `Settings`; what is not named has its default."""
    defaults = Settings()
    return Settings(
        **{
            name: dataclasses.replace(getattr(defaults, name), **value) if isinstance(value, Mapping) else value
            for name, value in sections.items()
        }
    )
