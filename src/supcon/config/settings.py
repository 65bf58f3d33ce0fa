"""Every setting of a run: typed, documented, with its default. `--help` is made from this file."""

from dataclasses import dataclass, field
from typing import Literal


@dataclass(frozen=True)
class DataSettings:
    """How the host's files become rows and pixels."""

    folds: int = 5
    """Number of folds in folds/folds.csv."""
    fold_seed: int = 0
    """Seed of the split, when folds.csv is made."""
    id_column: str = ""
    """Id column of train.csv and test.csv; empty: the first column of sample_submission.csv."""
    image_column: str = ""
    """Column of train.csv and test.csv that names the image; empty: the id, or the one column that names images."""
    label_column: str = ""
    """Label column of train.csv; empty: found by the columns of sample_submission.csv."""
    group_column: str = ""
    """Column of train.csv whose equal values never cross folds (a patient, a track); empty: no groups."""
    rare_classes: Literal["error", "train_only"] = "error"
    """Classes with fewer rows (or groups) than folds: an error, or fold -1: in every training set, never scored."""
    bad_images: Literal["error", "skip"] = "error"
    """Unreadable images: an error, or left out of training; such test rows get the class shares."""
    image_size: int = 224
    """Side of the training images, pixels."""
    test_size: int = 0
    """Side of the images at prediction, pixels; 0: image_size."""
    fit: Literal["crop", "pad", "squash"] = "crop"
    """How an image that is not square becomes square."""
    shots: int = 0
    """Training rows kept of each class, drawn by train.seed; 0: all. To study what a recipe makes of little data."""


@dataclass(frozen=True)
class AugmentSettings:
    """The invariances of the images, declared once: training views and test-time views both follow."""

    hflip: bool = True
    """Mirrored left to right it is still the same class."""
    vflip: bool = False
    """Mirrored top to bottom it is still the same class."""
    rotate90: bool = False
    """Turned by 90 degrees it is still the same class."""
    shift: float = 0.0
    """Largest shift, as a part of the side."""
    scale: float = 0.0
    """Largest change of size, as a part of 1."""
    rotate: float = 0.0
    """Largest rotation, degrees."""
    crop: float = 1.0
    """Smallest area of a random resized crop, as a part of the image; 1: no such crop."""
    color: float = 0.0
    """Jitter of brightness, contrast and saturation; hue gets a quarter of it."""
    gray: float = 0.0
    """Probability of a grey image."""
    blur: float = 0.0
    """Probability of a Gaussian blur."""
    erase: float = 0.0
    """Probability that a rectangle is erased."""


@dataclass(frozen=True)
class ModelSettings:
    """The encoder."""

    encoder: str = "tf_efficientnet_lite0"
    """Any timm model name."""
    pretrained: bool = True
    """Start from pretrained weights (the hub's, or `weights`)."""
    weights: str = ""
    """A local weights file in timm's names, instead of the hub."""
    drop_path: float = 0.0
    """Stochastic depth."""
    dropout: float = 0.0
    """Dropout before the classifier."""


@dataclass(frozen=True)
class TrainSettings:
    """What both training stages share."""

    seed: int = 0
    """Seed of all that training draws (splits and searches have their own)."""
    precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the encoder; losses are always float32."""
    channels_last: bool = True
    """Memory format of the encoder: true is faster for most convolutional networks."""


@dataclass(frozen=True)
class PseudoSettings:
    """A second round: both training stages also learn the test and held-out rows that an earlier run is sure of."""

    run: str = ""
    """The earlier run, on the same split; empty: none. Each fold learns what that run's model of the fold says."""
    share: float = 0.5
    """Part of the rows of each predicted class that get a label, the surest first, at least one row."""
    min_confidence: float = 0.5
    """Smallest probability of a label, calibrated on held-out rows of the other folds."""


@dataclass(frozen=True)
class PretrainSettings:
    """Supervised contrastive pre-training of the encoder."""

    epochs: int = 10
    """Epochs; 0 leaves the stage out."""
    views: int = 1
    """Augmented views of every image in a batch; with 1 the positives are the class's other images."""
    form: Literal["out", "in", "sincere", "eps_infonce", "eps_supcon", "balanced"] = "out"
    """Form of the loss, in both stages: `out` and `in` (Khosla et al. 2020, eq. 2 and 3), `sincere`, the `eps_` forms
    with their margin `epsilon`, or `balanced`."""
    temperature: float = 0.1
    """Temperature of the similarities."""
    epsilon: float = 0.0
    """Margin of the forms eps_infonce and eps_supcon, in logits."""
    hardness: float = 0.0
    """How much more near negatives count than far ones (Robinson et al. 2021); 0: all alike. Not in form balanced."""
    prototypes: bool = False
    """Form balanced: a learnable prototype of each class joins it, so that no image is without a positive."""
    scale_by_temperature: bool = False
    """Multiply the loss by the temperature, so that a search over temperatures is not one over learning rates."""
    classes_per_batch: int = 16
    """P of a PK batch; never more than there are classes."""
    images_per_class: int = 8
    """K of a PK batch; unused when batch_size is given."""
    batch_size: int = 0
    """Images a contrastive batch, K = batch_size / classes in it; 0: classes_per_batch x images_per_class."""
    balance: float = 1.0
    """How often a class comes in PK batches: 0 as often as its share of the images, 1 as often as any other."""
    projection: Literal["mlp", "linear", "none"] = "mlp"
    """The projection head between the encoder's features and the loss; `none`: the loss sees the features."""
    projection_layers: int = 2
    """Linear layers of an mlp projection: one less of them are hidden."""
    projection_norm: bool = False
    """Batch norm after the hidden layers of an mlp projection."""
    projection_hidden: int = 512
    """Width of the hidden layers of an mlp projection."""
    projection_dim: int = 128
    """Width of the embedding that a projection head makes."""
    lr: float = 1e-3
    """Highest learning rate (AdamW)."""
    layer_decay: float = 1.0
    """Learning rate ratio from one layer group of the encoder to the one below."""
    weight_decay: float = 0.05
    """AdamW's weight decay."""
    warmup: float = 0.1
    """Part of the steps spent warming up; cosine decay follows."""
    clip: float = 1.0
    """Largest gradient norm; 0: no clipping."""
    ema: float = 0.999
    """Decay of the averaged weights after its ramp; 0: no averaging."""
    strength: float = 1.0
    """Multiplies the magnitudes of `augment` in this stage."""
    micro_batch: int = 0
    """GradCache: images (views included) in memory at once, gradient of the whole batch; 0: the batch at once."""
    memory: int = 0
    """MoCo: keys of a momentum encoder, from earlier batches, that join every batch's images; 0: none."""
    momentum: float = 0.99
    """Decay of the momentum encoder that makes the keys of `memory`."""
    mixup: float = 0.0
    """Alpha of mixup, its contrastive loss weighed between both labels; 0: none."""
    cutmix: float = 0.0
    """Alpha of CutMix, its contrastive loss weighed between both labels; 0: none."""
    use_test: bool = False
    """Unlabelled test images join, each once an epoch as a class of its own: with `views` 2 or more its other views are
    its positives, with 1 it is but a negative of the others. Some hosts forbid it."""


@dataclass(frozen=True)
class FinetuneSettings:
    """Training of the classifier on the encoder."""

    mode: Literal["linear", "mlp", "full"] = "full"
    """`linear` and `mlp` train a head on a frozen encoder's features; `full` trains the encoder too."""
    epochs: int = 10
    """Epochs."""
    views: int = 1
    """Augmented views of every image in a batch (mode full)."""
    batches: Literal["natural", "pk"] = "natural"
    """`natural`: every image once an epoch; `pk`: the pre-training stage's PK batches (mode full)."""
    batch_size: int = 128
    """Images a natural batch."""
    micro_batch: int = 0
    """GradCache: images (views included) in memory at once (mode full); 0: the batch at once."""
    lr: float = 1e-3
    """Highest learning rate of the heads (AdamW)."""
    encoder_lr: float = 1e-3
    """Highest learning rate of the encoder (mode full)."""
    layer_decay: float = 1.0
    """Learning rate ratio from one layer group of the encoder to the one below (mode full)."""
    weight_decay: float = 0.05
    """AdamW's weight decay."""
    warmup: float = 0.1
    """Part of the steps spent warming up; cosine decay follows."""
    clip: float = 1.0
    """Largest gradient norm; 0: no clipping."""
    ema: float = 0.999
    """Decay of the averaged weights after its ramp; 0: no averaging."""
    strength: float = 1.0
    """Multiplies the magnitudes of `augment` in this stage."""
    label_smoothing: float = 0.0
    """Label smoothing of the cross-entropy."""
    logit_adjustment: float = 0.0
    """Strength of the log class prior added to the logits in training (Menon et al. 2021); 0: none."""
    mixup: float = 0.0
    """Alpha of mixup, every loss weighed between both labels; 0: none (mode full)."""
    cutmix: float = 0.0
    """Alpha of CutMix, every loss weighed between both labels; 0: none (mode full)."""
    contrastive_weight: float = 0.0
    """Weight of the contrastive loss beside cross-entropy at the start (mode full). SCHaNe's lambda is lambda / (1 -
    lambda) here, with pretrain.form in and pretrain.hardness 1."""
    contrastive_weight_end: float = 0.0
    """Weight of the contrastive loss at the end; in between it moves linearly."""

    @property
    def contrasts(self) -> bool:
        """Whether there is a contrastive term at all."""
        return max(self.contrastive_weight, self.contrastive_weight_end) > 0


@dataclass(frozen=True)
class PredictSettings:
    """Prediction of out-of-fold and test rows."""

    views: int = 4
    """Test-time views at most: the plain image first, then what `augment` declares."""
    batch_size: int = 128
    """Images a batch."""
    prototypes: bool = True
    """Also predict by the class means of the training rows' features, at one more forward pass of these rows."""
    prototype_weight: float = 0.0
    """Weight of the class means' log-probabilities beside the head's, from 0 (the head alone) to 1."""
    prototype_temperature: float = 0.1
    """What cosines to the class means are divided by."""
    embeddings: int = 5000
    """Rows of each part (training, held out, test) whose embeddings are kept for the report, drawn by train.seed, at
    most; 0: none."""


@dataclass(frozen=True)
class TuneSettings:
    """The decision from logits to labels or probabilities."""

    metric: Literal["macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "log_loss"] = "macro_f1"
    """The host's metric: decisions are tuned for it and scores reported in it."""
    runs: list[str] = field(default_factory=list)
    """Runs to blend in place of the run's own folds, as --runs A B of tune and ensemble sets it."""
    trials: int = 100
    """Optuna trials of one search."""
    seconds: float = 0.0
    """Seconds of one search at most; the decision then depends on the machine's speed. 0: `trials` alone count."""
    storage: str = ""
    """Where the searches over all rows are kept for others to open or to share: an URL such as sqlite:///trials.db, or
    the path of a journal file; default: runs/NAME/optuna.journal, made anew each time."""
    workers: int = 1
    """Processes that share each search over all rows; with more than 1 the decision depends on their timing."""
    shrinkage: float = 0.02
    """Cost in the metric of a mean squared log-threshold of 1: draws the thresholds toward none."""
    bootstrap: int = 1000
    """Resamples behind intervals and standard errors."""
    seed: int = 0
    """Seed of the searches and resamples."""


@dataclass(frozen=True)
class MachineSettings:
    """The machine at hand. Nothing here is part of a run's fingerprint."""

    device: str = "auto"
    """torch device; auto: the GPU when there is one."""
    workers: int = -1
    """Loader processes; -1: one less than the cores, 0: none."""
    threads: int = 0
    """Training threads; 0: all cores. Never depends on `workers`."""


@dataclass(frozen=True)
class Settings:
    """All settings of a run."""

    data: DataSettings = field(default_factory=DataSettings)
    augment: AugmentSettings = field(default_factory=AugmentSettings)
    model: ModelSettings = field(default_factory=ModelSettings)
    train: TrainSettings = field(default_factory=TrainSettings)
    pseudo: PseudoSettings = field(default_factory=PseudoSettings)
    pretrain: PretrainSettings = field(default_factory=PretrainSettings)
    finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    predict: PredictSettings = field(default_factory=PredictSettings)
    tune: TuneSettings = field(default_factory=TuneSettings)
    machine: MachineSettings = field(default_factory=MachineSettings)
    time_budget: str = field(
        default="",
        metadata={
            "help": "Time for all folds, such as 90m or 2h30m: `doctor`, with which `all` begins, fits the epochs."
        },
    )
