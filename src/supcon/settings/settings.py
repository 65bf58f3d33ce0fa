"""Every setting of a run: typed, documented, with default and bounds. `--help` is made of them."""

import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from supcon.errors import UserError
from supcon.settings.augment import AugmentSettings
from supcon.settings.bounds import bounded
from supcon.settings.earlier import AverageSettings, PseudoSettings
from supcon.settings.training import BatchSettings, ContrastSettings, FinetuneSettings, PretrainSettings, TrainSettings

TRACKERS = ("tensorboard", "wandb", "mlflow", "trackio")


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
    store: Literal["auto", "pixels", "jpeg", "files"] = "auto"
    """What cache/ keeps of the images: pixels; jpeg, about a seventh of that, decoded at each use; files: no image,
    the host's files are decoded at each use; auto: one that is there, else the first that fits into half of the free
    disk, chosen once a run."""
    jpeg_quality: int = bounded(95, 1, 100)
    """Quality of the images that `store` jpeg keeps."""
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
class ModelSettings:
    """The encoder."""

    encoder: str = "tf_efficientnet_lite0"
    """Any timm model name."""
    pretrained: bool = True
    """Start from pretrained weights (the hub's, or `weights`)."""
    weights: str = ""
    """A file to start from instead of the hub: timm's, another trainer's checkpoint, or the encoder or classifier of a
    run on another competition. kaggle:OWNER/DATASET/FILE: a file of a dataset there, fetched once by its client."""
    kwargs: str = ""
    """Further arguments of the encoder, as timm's create_model takes them, in JSON: '{"window_size": 8}'."""
    checkpointing: bool = False
    """Keep few of the encoder's activations and compute the others again in the backward pass: less memory for up to a
    third more time, with the same results."""
    frozen: bool = False
    """Keep the encoder as it is: its features of some views of each image are computed once, for all folds and alike
    runs, and both stages train an adapter on them, an MLP of two layers."""
    frozen_views: int = bounded(8, 1, 1000)
    """Random views of each image that are computed where the encoder is frozen; training draws from them."""
    adapter_width: int = bounded(1024, 1, 1_000_000)
    """Width of the hidden layer of the adapter of a frozen encoder."""
    lora_rank: int = bounded(0, 0, 4096)
    """LoRA: learn matrices of this rank beside the encoder's linear layers and convolutions, which themselves stay, and
    add them in the end: little memory for optimizer and gradients. 0: train the weights. Needs peft."""
    frozen_groups: int = bounded(0, 0, 1000)
    """Groups of the encoder's layers that stay as they are, from the first one on."""
    drop_path: float = bounded(0.0, 0, 0.9)
    """Stochastic depth."""
    dropout: float = bounded(0.0, 0, 0.9)
    """Dropout before the classifier."""


@dataclass(frozen=True)
class PredictSettings:
    """Prediction of out-of-fold and test rows."""

    views: int = bounded(4, 1, 64)
    """Test-time views at most: the plain image first, then what `augment` declares."""
    batch_size: int = bounded(128, 1, 1_000_000)
    """Images a pass of the network, which sees one view of each at a time."""
    class_means: bool = True
    """Also predict by the class means of the training rows' features, at one more forward pass of these rows."""
    class_mean_weight: float = bounded(0.0, 0, 1)
    """Weight of the class means' log-probabilities beside the head's, from 0 (the head alone) to 1."""
    class_mean_temperature: float = bounded(0.1, 0.001, 100)
    """What cosines to the class means are divided by."""
    neighbours: int = bounded(0, 0, 10_000)
    """Also predict by the votes of this number of nearest training views, at one more forward pass of all views of the
    training rows; 0: no such prediction. `tune` finds the weight where tune.members names neighbours."""
    neighbour_temperature: float = bounded(0.05, 0.001, 100)
    """What cosines to the neighbours are divided by: a small one lets the nearest count most."""
    embeddings: int = bounded(5000, 0, 10_000_000)
    """Training, held-out and test rows, of each at most so many, whose embeddings are kept for the report, drawn by
    train.seed; 0: none."""


@dataclass(frozen=True)
class TuneSettings:
    """The decision from logits to labels or probabilities."""

    metric: Literal[
        "macro_f1", "micro_f1", "weighted_f1", "f_beta", "accuracy", "balanced_accuracy", "kappa", "log_loss",
        "roc_auc", "map_k",
    ] = "macro_f1"  # fmt: skip
    """The host's metric: decisions are tuned for it and scores reported in it. kappa: with quadratic weights, of
    classes called by numbers; map_k: of the likeliest classes in their order. Where the host asks for one class's
    probability, roc_auc is taken unless log_loss is named."""
    beta: float = bounded(2.0, 0.01, 100)
    """For metric f_beta, the mean over classes: how many times recall counts as much as precision."""
    k: int = bounded(5, 1, 1000)
    """For metric map_k, where the sample has a column per class: how many classes of a row count. A sample with several
    labels in a row shows it itself."""
    runs: list[str] = field(default_factory=list)
    """Runs to blend in place of the run's own folds, as --runs A B of tune and ensemble sets it."""
    members: list[Literal["class_means", "neighbours"]] = field(default_factory=list)
    """What may decide beside the head, each with a weight and a temperature, used where that helps cross-fitted, as
    --tune.members '[class_means, neighbours]'; of a blend, beside the head of each run."""
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
    average: AverageSettings = field(default_factory=AverageSettings)
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
            " finetune. No part of a run's fingerprint: an interrupted stage goes on with any number.",
        },
    )
    time_budget: str = field(
        default="",
        metadata={
            "help": "Time for all folds, such as 90m or 2h30m: `doctor`, with which `all` begins, fits the epochs"
            " for one process, fold by fold (--jobs and --nproc end sooner)."
        },
    )
    track: str = field(
        default="",
        metadata={
            "help": f"Trackers that follow training, scores and report: {', '.join(TRACKERS)}, several with commas"
            " between them; none: stop tracking. They stay offline unless WANDB_MODE, MLFLOW_TRACKING_URI or"
            " TRACKIO_SPACE_ID say otherwise. No part of a run's fingerprint."
        },
    )

    @property
    def trackers(self) -> list[str]:
        """The trackers that `track` names, each once."""
        names = dict.fromkeys(name.strip() for name in self.track.split(","))
        return [name for name in names if name not in ("", "none")]

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
