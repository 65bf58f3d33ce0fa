"""The settings of the two training stages: typed, documented, with defaults and bounds."""

from dataclasses import dataclass, field
from typing import Literal

from supcon.settings.bounds import bounded


@dataclass(frozen=True)
class TrainSettings:
    """What both training stages share."""

    seed: int = bounded(0, 0, 4_294_967_295)
    """Seed of all that training draws (splits and searches have their own)."""
    first_size: int = bounded(0, 0, 4096)
    """Side of the images in the first epoch, pixels: it grows in steps of 16, or of about that in whole patches of a
    transformer, and is data.image_size for the last third of the epochs (with train.one_schedule, of both stages'); 0:
    data.image_size throughout. For encoders that take images of several sizes."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Precision of the encoder; losses are always float32. float16, for GPUs without bfloat16 such as T4 and P100,
    scales the loss; steps whose gradient is too large for it are skipped and counted. auto: a few timed steps choose
    the precision, and channels_last with it, when the run begins."""
    channels_last: bool = True
    """Memory format of the encoder: true is faster for most convolutional networks."""
    compile: bool = False
    """Let torch.compile make the encoder's training passes: for GPUs. On a CPU it takes minutes and gains little."""
    optimizer: str = "adamw"
    """Any of timm's optimizers: adamw, sgd, lamb, lars, lion, muon ... Each wants learning rates of its own."""
    momentum: float = bounded(0.9, 0, 0.9999)
    """Momentum of the optimizers that have one, such as sgd."""
    betas: list[float] = field(default_factory=list)
    """Decays of the averages of Adam and its kin, such as [0.9, 0.99]; empty: the optimizer's own."""
    schedule: Literal["cosine", "constant", "one_cycle"] = "cosine"
    """What the learning rate does after its warm-up: cosine: it falls along one; constant: it stays; one_cycle: its
    warm-up is a cosine too, and the momentum is down by 0.1 at its end (Smith and Topin 2019)."""
    warmup: float = bounded(0.1, 0, 0.9)
    """Part of the schedule's steps in which the learning rate rises."""
    final_lr: float = bounded(0.0, 0, 1)
    """Where cosine and one_cycle end, as a part of the highest learning rate."""
    one_schedule: bool = True
    """One schedule over both stages, where both train the encoder: in finetune it goes on where
    pretrain left it. false: each stage warms up and falls on its own."""
    sync_batch_norm: bool = True
    """Where several processes share a batch (--nproc), batch norm by the statistics of all of it, as in one process;
    false: each by its share, without the messages that this takes."""


@dataclass(frozen=True)
class ContrastSettings:
    """The supervised contrastive loss and its projection head, of both training stages."""

    form: Literal["out", "in", "sincere", "eps_infonce", "eps_supcon", "balanced"] = "out"
    """Form of the loss: `out` and `in` (Khosla et al. 2020, eq. 2 and 3), `sincere`, the `eps_` forms
    with their margin `epsilon`, or `balanced`."""
    temperature: float = bounded(0.1, 0.001, 100)
    """Temperature of the similarities."""
    epsilon: float = bounded(0.0, 0, 1000)
    """Margin of the forms eps_infonce and eps_supcon, in logits."""
    hardness: float = bounded(0.0, 0, 100)
    """How much more near negatives count than far ones (Robinson et al. 2021); 0: all alike. Not in form balanced."""
    normalize: bool = True
    """Bring embeddings, memory and prototypes to unit length in the loss; false: they enter as they are, similarities
    are plain dot products / temperature, and length acts as certainty."""
    prototypes: bool = False
    """Form balanced: a learnable prototype of each class joins it, so that no image is without a positive."""
    scale_by_temperature: bool = False
    """Multiply the loss by the temperature, so that a search over temperatures is not one over learning rates."""
    projection: Literal["mlp", "linear", "none"] = "mlp"
    """The projection head between the encoder's features and the loss; `none`: the loss sees the features."""
    projection_layers: int = bounded(2, 2, 16)
    """Linear layers of an mlp projection: all but the last are hidden."""
    projection_norm: bool = False
    """Batch norm after the hidden layers of an mlp projection."""
    projection_hidden: int = bounded(512, 1, 65_536)
    """Width of the hidden layers of an mlp projection."""
    projection_dim: int = bounded(128, 1, 65_536)
    """Width of the embedding that a projection head makes."""


@dataclass(frozen=True)
class BatchSettings:
    """PK batches, P classes x K images of each: those of pretrain, and of finetune where `finetune.batches` is pk."""

    classes_per_batch: int = bounded(16, 1, 1_000_000)
    """P of a PK batch; never more than there are classes."""
    images_per_class: int = bounded(8, 1, 1_000_000)
    """K of a PK batch; unused where `size` is given."""
    size: int = bounded(0, 0, 1_000_000)
    """Images in a PK batch at most, K = size // classes in it; 0: classes_per_batch x images_per_class."""
    balance: float = bounded(1.0, 0, 1)
    """How often a class comes in PK batches. 0: in proportion to its images; 1: as often as any other."""


@dataclass(frozen=True)
class OptimizerSettings:
    """What each training stage sets for itself; in finetune, what changes the encoder or its images needs mode full."""

    layer_decay: float = bounded(1.0, 0.01, 1)
    """Learning rate ratio from one layer group of the encoder to the one below."""
    weight_decay: float = bounded(0.05, 0, 100)
    """Weight decay; none for biases and norms."""
    clip: float = bounded(1.0, 0, 1_000_000)
    """Largest gradient norm; 0: no clipping."""
    ema: float = bounded(0.999, 0, 0.999999)
    """Decay of the averaged weights after its ramp; 0: no averaging."""
    strength: float = bounded(1.0, 0, 10)
    """Multiplies the magnitudes of `augment` in this stage."""
    micro_batch: int = bounded(0, 0, 1_000_000)
    """GradCache: images (views included) in memory at once, gradient of the whole batch; 0: the batch at once."""
    mixup: float = bounded(0.0, 0, 100)
    """Alpha of mixup, every loss weighed between both labels; 0: none."""
    cutmix: float = bounded(0.0, 0, 100)
    """Alpha of CutMix, every loss weighed between both labels; 0: none."""


@dataclass(frozen=True)
class PretrainSettings(OptimizerSettings):
    """The first stage, in PK batches: it trains the encoder by contrast, by cross-entropy or by both."""

    epochs: int = bounded(10, 0, 100_000)
    """Epochs; 0 leaves the stage out."""
    contrastive_weight: float = bounded(1.0, 0, 1000)
    """Weight of the contrastive loss; 0: none, as a control of what the batches alone do."""
    cross_entropy_weight: float = bounded(0.0, 0, 1000)
    """Weight of a cross-entropy beside it, which trains the classifier as `finetune` does, with the class shares of the
    PK batches taken off; 0: none."""
    views: int = bounded(1, 1, 64)
    """Augmented views of every image in a batch; with 1 the positives are the class's other images."""
    lr: float = bounded(1e-3, 0, 1000)
    """Highest learning rate."""
    memory: int = bounded(0, 0, 10_000_000)
    """MoCo: keys of a momentum encoder, from earlier batches, that join every batch's images; 0: none."""
    momentum: float = bounded(0.99, 0, 0.999999)
    """Decay of the momentum encoder that makes the keys of `memory`."""
    use_test: bool = False
    """Unlabelled test images join, each once an epoch as a class of its own: with `views` 2 or more its other views are
    its positives, with 1 it is only a negative of the others. Some hosts forbid it."""

    @property
    def contrasts(self) -> bool:
        """Whether there is a contrastive loss."""
        return self.contrastive_weight > 0

    @property
    def classifies(self) -> bool:
        """Whether the stage trains a classifier too."""
        return self.cross_entropy_weight > 0

    def weights(self, progress: float) -> tuple[float, float]:
        """Return the weights of cross-entropy and contrast at `progress` 0 .. 1 of the stage."""
        return self.cross_entropy_weight, self.contrastive_weight


@dataclass(frozen=True)
class FinetuneSettings(OptimizerSettings):
    """Training of the classifier on the encoder."""

    mode: Literal["linear", "mlp", "full"] = "full"
    """`linear` and `mlp` train a head on features of the encoder, which stays; `full` trains the encoder too, or the
    adapter of a frozen one (model.frozen)."""
    epochs: int = bounded(10, 1, 100_000)
    """Epochs."""
    classifier: Literal["linear", "cosine"] = "linear"
    """`cosine`: by cosines of the features to learned class weights, times a learned scale (mode linear or full)."""
    head: Literal["carried", "fitted", "fresh"] = "carried"
    """How the classifier begins. carried: as pretrain left it, or fresh where pretrain trained none; fitted: to the
    features of the training rows, by logistic regression (cosine: their class means); fresh: random weights."""
    views: int = bounded(1, 1, 64)
    """Augmented views of every image in a batch (mode full)."""
    batches: Literal["natural", "pk"] = "natural"
    """`natural`: every image once an epoch; `pk`: the PK batches of `batches` (mode full)."""
    batch_size: int = bounded(128, 2, 1_000_000)
    """Images a natural batch."""
    lr: float = bounded(1e-3, 0, 1000)
    """Highest learning rate of the classifier and the projection head."""
    encoder_lr: float = bounded(1e-3, 0, 1000)
    """Highest learning rate of the encoder, or of the adapter of a frozen one (mode full)."""
    label_smoothing: float = bounded(0.0, 0, 0.9)
    """Label smoothing of the cross-entropy."""
    logit_adjustment: float = bounded(0.0, 0, 10)
    """Strength of the log class prior added to the logits in training (Menon et al. 2021); 0: none."""
    contrastive_weight: float = bounded(0.0, 0, 1000)
    """Weight of the contrastive loss beside cross-entropy at the start (mode full). For SCHaNe with its
    lambda, set lambda / (1 - lambda) here, contrast.form in and contrast.hardness 1."""
    contrastive_weight_end: float = bounded(0.0, 0, 1000)
    """Weight of the contrastive loss at the end; in between it moves linearly."""

    @property
    def contrasts(self) -> bool:
        """Whether there is a contrastive term at all."""
        return max(self.contrastive_weight, self.contrastive_weight_end) > 0

    def weights(self, progress: float) -> tuple[float, float]:
        """Return the weights of cross-entropy and contrast at `progress` 0 .. 1 of the stage."""
        start, end = self.contrastive_weight, self.contrastive_weight_end
        return 1.0, start + (end - start) * progress
