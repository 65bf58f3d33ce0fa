"""Values that no run can use are refused before anything is written."""

import os

from supcon.errors import UserError
from supcon.settings.settings import Settings
from supcon.settings.training import FinetuneSettings, PretrainSettings

# key: (smallest, largest), both allowed
_BOUNDS: dict[str, tuple[float, float]] = {
    "data.folds": (2, 1000),
    "data.image_size": (8, 4096),
    "data.test_size": (0, 4096),
    "data.shots": (0, 1_000_000),
    "augment.shift": (0, 0.5),
    "augment.scale": (0, 0.9),
    "augment.rotate": (0, 180),
    "augment.crop": (0.01, 1),
    "augment.color": (0, 1),
    "augment.gray": (0, 1),
    "augment.blur": (0, 1),
    "augment.erase": (0, 1),
    "model.drop_path": (0, 0.9),
    "model.dropout": (0, 0.9),
    "pseudo.share": (0.001, 1),
    "pseudo.min_confidence": (0, 1),
    "pretrain.epochs": (0, 100_000),
    "pretrain.views": (1, 64),
    "pretrain.temperature": (1e-3, 100),
    "pretrain.epsilon": (0, 1000),
    "pretrain.hardness": (0, 100),
    "pretrain.classes_per_batch": (1, 1_000_000),
    "pretrain.images_per_class": (1, 1_000_000),
    "pretrain.projection_layers": (2, 16),
    "pretrain.memory": (0, 10_000_000),
    "pretrain.momentum": (0, 0.999999),
    "pretrain.batch_size": (0, 1_000_000),
    "pretrain.balance": (0, 1),
    "pretrain.projection_hidden": (1, 65_536),
    "pretrain.projection_dim": (1, 65_536),
    "finetune.epochs": (1, 100_000),
    "finetune.views": (1, 64),
    "finetune.batch_size": (2, 1_000_000),
    "finetune.label_smoothing": (0, 0.9),
    "finetune.logit_adjustment": (0, 10),
    "finetune.contrastive_weight": (0, 1000),
    "finetune.contrastive_weight_end": (0, 1000),
    "finetune.lr": (0, 1000),
    "finetune.encoder_lr": (0, 1000),
    "pretrain.lr": (0, 1000),
    **{
        f"{stage}.{key}": bounds
        for stage in ("pretrain", "finetune")
        for key, bounds in {
            "layer_decay": (0.01, 1),
            "weight_decay": (0, 100),
            "warmup": (0, 0.9),
            "clip": (0, 1e6),
            "ema": (0, 0.999999),
            "strength": (0, 10),
            "micro_batch": (0, 1_000_000),
            "mixup": (0, 100),
            "cutmix": (0, 100),
        }.items()
    },
    "predict.views": (1, 64),
    "predict.batch_size": (1, 1_000_000),
    "predict.prototype_weight": (0, 1),
    "predict.prototype_temperature": (1e-3, 100),
    "predict.embeddings": (0, 10_000_000),
    "data.fold_seed": (0, 2**32 - 100),
    "train.first_size": (0, 4096),
    "train.seed": (0, 2**32 - 1),
    "tune.seed": (0, 2**32 - 1),
    "tune.trials": (1, 1_000_000),
    "tune.seconds": (0, 10_000_000),
    "tune.workers": (1, 1024),
    "tune.shrinkage": (0, 100),
    "tune.bootstrap": (10, 1_000_000),
    "machine.workers": (-1, 1024),
    "machine.threads": (0, 1024),
}


def check_run_name(flag: str, run: str) -> None:
    """Raise `UserError` for a run that can be no folder below runs/."""
    if run in ("", ".", "..", "old") or "/" in run or "\\" in run or len(os.fsencode(run)) > 200:
        raise UserError(f"{flag} {run[:200]!r} is not a folder name: use letters, digits, '-' and '_', at most 200")


def check(settings: Settings) -> None:
    """Raise `UserError` for a value out of bounds or for settings that exclude each other."""
    for key, (smallest, largest) in _BOUNDS.items():
        section, name = key.split(".")
        value = getattr(getattr(settings, section), name)
        if not smallest <= value <= largest:
            raise UserError(f"--{key} {value} is out of bounds: {smallest:g} to {largest:g}")
    if not 1 <= settings.nproc <= 1024:
        raise UserError(f"--nproc {settings.nproc} is out of bounds: 1 to 1024")
    finetune, pretrain = settings.finetune, settings.pretrain
    if settings.pseudo.run:
        check_run_name("--pseudo.run", settings.pseudo.run)
    if not (settings.train.first_size == 0 or 8 <= settings.train.first_size <= settings.data.image_size):
        raise UserError(
            f"--train.first_size {settings.train.first_size}: images grow to --data.image_size"
            f" {settings.data.image_size}: use 8 to that, or 0 for the one size throughout"
        )
    if settings.model.weights and not settings.model.pretrained:
        raise UserError(
            "--model.weights is not read with --model.pretrained false: set it to true, or leave weights out"
        )
    if finetune.contrasts and finetune.mode != "full":
        raise UserError(
            f"--finetune.contrastive_weight trains the encoder, which --finetune.mode {finetune.mode} freezes:"
            " use --finetune.mode full or a weight of 0"
        )
    if finetune.mode != "full" and max(finetune.mixup, finetune.cutmix) > 0:
        raise UserError(
            f"--finetune.mode {finetune.mode} sees features, not images: set finetune.mixup and finetune.cutmix to 0"
        )
    if pretrain.projection != "mlp" and pretrain.projection_norm:
        raise UserError(
            f"--pretrain.projection_norm true is for hidden layers, which --pretrain.projection {pretrain.projection}"
            " lacks: use --pretrain.projection mlp or --pretrain.projection_norm false"
        )
    if finetune.mode != "full" and finetune.micro_batch > 0:
        raise UserError(f"--finetune.mode {finetune.mode} has no encoder to train: set finetune.micro_batch to 0")
    if 1 in (pretrain.micro_batch, finetune.micro_batch):
        raise UserError("a micro_batch of 1 leaves batch norm no statistics: use 2 or more, or 0 for the batch at once")
    if settings.predict.prototype_weight > 0 and not settings.predict.prototypes:
        raise UserError("--predict.prototype_weight needs the class means: set --predict.prototypes true")
    if pretrain.epochs == 0 and (pretrain.memory > 0 or pretrain.use_test):
        name, unset = ("memory", "0") if pretrain.memory > 0 else ("use_test", "false")
        raise UserError(
            f"--pretrain.{name} joins pre-training alone, which --pretrain.epochs 0 leaves out: raise the epochs, or"
            f" set --pretrain.{name} {unset}"
        )
    _check_loss(pretrain)
    _check_batches(pretrain, finetune)


def _check_loss(pretrain: PretrainSettings) -> None:
    """Raise `UserError` for options of the contrastive loss that exclude each other."""
    if pretrain.epsilon > 0 and not pretrain.form.startswith("eps_"):
        raise UserError(
            f"--pretrain.epsilon belongs to the forms eps_infonce and eps_supcon: set it to 0 with {pretrain.form}"
        )
    if pretrain.hardness > 0 and pretrain.form == "balanced":
        raise UserError("--pretrain.form balanced takes no hardness: set --pretrain.hardness 0 or use another form")
    if pretrain.prototypes and pretrain.form != "balanced":
        raise UserError(f"--pretrain.prototypes belongs to the form balanced: set it to false with {pretrain.form}")
    if pretrain.prototypes and (pretrain.memory > 0 or pretrain.use_test):
        raise UserError("--pretrain.prototypes goes without --pretrain.memory and --pretrain.use_test: unset those")


def _check_batches(pretrain: PretrainSettings, finetune: FinetuneSettings) -> None:
    """Raise `UserError` for batches of contrast without positives or negatives."""
    alone = pretrain.classes_per_batch == 1 and not pretrain.prototypes
    if alone and pretrain.epochs > 0 and pretrain.memory == 0 and not pretrain.use_test:
        raise UserError(
            "--pretrain.classes_per_batch 1 leaves no negatives, so all embeddings become one: raise it to 2 or more,"
            " or give the batches a --pretrain.memory"
        )
    if alone and finetune.batches == "pk" and finetune.contrasts:
        raise UserError(
            "--pretrain.classes_per_batch 1 leaves the batches of --finetune.batches pk no negatives: raise it to 2 or"
            " more, or use natural ones"
        )
    lone = pretrain.images_per_class == 1 and pretrain.batch_size == 0
    if lone and pretrain.views == 1 and pretrain.memory == 0 and pretrain.epochs > 0:
        raise UserError(
            "pretrain.views 1 with pretrain.images_per_class 1 leaves no positives: raise one of them to 2 or more"
        )
    if lone and finetune.views == 1 and finetune.batches == "pk" and finetune.contrasts:
        raise UserError(
            "finetune.views 1 with pretrain.images_per_class 1 leaves no positives: raise one of them to 2 or more"
        )
