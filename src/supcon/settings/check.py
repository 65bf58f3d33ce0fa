"""Values that no run can use are refused before anything is written."""

import os

from supcon.errors import UserError
from supcon.settings.bounds import check_bounds
from supcon.settings.settings import Settings
from supcon.settings.training import ContrastSettings, PretrainSettings


def check_run_name(flag: str, run: str) -> None:
    """Raise `UserError` for a run that can be no folder below runs/."""
    if run in ("", ".", "..", "old") or "/" in run or "\\" in run or len(os.fsencode(run)) > 200:
        raise UserError(f"{flag} {run[:200]!r} is not a folder name: use letters, digits, '-' and '_', at most 200")


def check(settings: Settings) -> None:
    """Raise `UserError` for a value out of bounds or for settings that exclude each other."""
    check_bounds(settings)
    finetune, pretrain, contrast = settings.finetune, settings.pretrain, settings.contrast
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
    if contrast.projection != "mlp" and contrast.projection_norm:
        raise UserError(
            f"--contrast.projection_norm true is for hidden layers, which --contrast.projection {contrast.projection}"
            " lacks: use --contrast.projection mlp or --contrast.projection_norm false"
        )
    if finetune.mode != "full" and finetune.micro_batch > 0:
        raise UserError(f"--finetune.mode {finetune.mode} has no encoder to train: set finetune.micro_batch to 0")
    if 1 in (pretrain.micro_batch, finetune.micro_batch):
        raise UserError("a micro_batch of 1 leaves batch norm no statistics: use 2 or more, or 0 for the batch at once")
    if settings.predict.class_mean_weight > 0 and not settings.predict.class_means:
        raise UserError("--predict.class_mean_weight needs the class means: set --predict.class_means true")
    if pretrain.epochs == 0 and (pretrain.memory > 0 or pretrain.use_test):
        name, unset = ("memory", "0") if pretrain.memory > 0 else ("use_test", "false")
        raise UserError(
            f"--pretrain.{name} joins pre-training alone, which --pretrain.epochs 0 leaves out: raise the epochs, or"
            f" set --pretrain.{name} {unset}"
        )
    _check_loss(contrast, pretrain)
    _check_batches(settings)


def _check_loss(contrast: ContrastSettings, pretrain: PretrainSettings) -> None:
    """Raise `UserError` for options of the contrastive loss that exclude each other."""
    if contrast.epsilon > 0 and not contrast.form.startswith("eps_"):
        raise UserError(
            f"--contrast.epsilon belongs to the forms eps_infonce and eps_supcon: set it to 0 with {contrast.form}"
        )
    if contrast.hardness > 0 and contrast.form == "balanced":
        raise UserError("--contrast.form balanced takes no hardness: set --contrast.hardness 0 or use another form")
    if contrast.prototypes and contrast.form != "balanced":
        raise UserError(f"--contrast.prototypes belongs to the form balanced: set it to false with {contrast.form}")
    if contrast.prototypes and (pretrain.memory > 0 or pretrain.use_test):
        raise UserError("--contrast.prototypes goes without --pretrain.memory and --pretrain.use_test: unset those")


def _check_batches(settings: Settings) -> None:
    """Raise `UserError` for batches of contrast without positives or negatives."""
    pretrain, finetune, batches = settings.pretrain, settings.finetune, settings.batches
    contrasts_pk = finetune.batches == "pk" and finetune.contrasts
    if batches.classes_per_batch == 1 and not settings.contrast.prototypes:
        if pretrain.epochs > 0 and pretrain.memory == 0 and not pretrain.use_test:
            raise UserError(
                "--batches.classes_per_batch 1 leaves no negatives, so all embeddings become one: raise it to 2 or"
                " more, or give the batches a --pretrain.memory"
            )
        if contrasts_pk:
            raise UserError(
                "--batches.classes_per_batch 1 leaves the batches of --finetune.batches pk no negatives: raise it to 2"
                " or more, or use natural ones"
            )
    if batches.images_per_class == 1 and batches.size == 0:
        if pretrain.epochs > 0 and pretrain.views == 1 and pretrain.memory == 0:
            raise UserError(
                "pretrain.views 1 with batches.images_per_class 1 leaves no positives: raise one of them to 2 or more"
            )
        if contrasts_pk and finetune.views == 1:
            raise UserError(
                "finetune.views 1 with batches.images_per_class 1 leaves no positives: raise one of them to 2 or more"
            )
