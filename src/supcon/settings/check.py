"""Values that no run can use are refused before anything is written."""

import os
from collections.abc import Iterator
from itertools import chain

from supcon.errors import UserError
from supcon.settings.bounds import out_of_bounds
from supcon.settings.settings import Settings


def check_run_name(flag: str, run: str) -> None:
    """Raise `UserError` for a run that can be no folder below runs/."""
    taken, elsewhere = run in ("", ".", "..", "old"), "/" in run or "\\" in run
    if taken or elsewhere or not run.isprintable() or len(os.fsencode(run)) > 200:
        raise UserError(f"{flag} {run[:200]!r} is not a folder name: use letters, digits, '-' and '_', at most 200")


def check(settings: Settings) -> None:
    """Raise `UserError` for a value out of bounds or for settings that exclude each other."""
    _ = settings.data.fixed_range, settings.data.band_numbers  # they raise it, too
    for problem in chain(out_of_bounds(settings), _conflicts(settings), _of_loss(settings), _of_batches(settings)):
        raise UserError(problem)


def _conflicts(settings: Settings) -> Iterator[str]:
    finetune, pretrain, contrast = settings.finetune, settings.pretrain, settings.contrast
    if settings.pseudo.run:
        check_run_name("--pseudo.run", settings.pseudo.run)
    if settings.data.positive_class and settings.data.submit == "label":
        yield "--data.positive_class is for a probability: leave it out with --data.submit label"
    if not (settings.train.first_size == 0 or 8 <= settings.train.first_size <= settings.data.image_size):
        yield (
            f"--train.first_size {settings.train.first_size}: images grow to --data.image_size"
            f" {settings.data.image_size}: use 8 to that, or 0 for the one size throughout"
        )
    if settings.model.weights and not settings.model.pretrained:
        yield "--model.weights is not read with --model.pretrained false: set it to true, or leave weights out"
    if finetune.contrasts and finetune.mode != "full":
        yield (
            f"--finetune.contrastive_weight trains the encoder, which --finetune.mode {finetune.mode} freezes:"
            " use --finetune.mode full or a weight of 0"
        )
    if finetune.mode != "full" and max(finetune.mixup, finetune.cutmix) > 0:
        yield f"--finetune.mode {finetune.mode} sees features, not images: set finetune.mixup and finetune.cutmix to 0"
    if pretrain.epochs > 0 and not (pretrain.contrasts or pretrain.classifies):
        yield (
            "--pretrain.contrastive_weight 0 with --pretrain.cross_entropy_weight 0 leaves pretrain nothing to learn:"
            " raise one of them, or set --pretrain.epochs 0"
        )
    if (pretrain.memory > 0 or pretrain.use_test) and not pretrain.contrasts:
        name, unset = ("memory", "0") if pretrain.memory > 0 else ("use_test", "false")
        yield f"--pretrain.{name} joins contrast alone: raise --pretrain.contrastive_weight, or set it to {unset}"
    if finetune.mode == "mlp" and (finetune.classifier == "cosine" or finetune.head == "fitted"):
        name, value = ("classifier", "cosine") if finetune.classifier == "cosine" else ("head", "fitted")
        yield f"--finetune.{name} {value} is for one layer, and --finetune.mode mlp has two: use mode linear or full"
    if not all(0 <= beta < 1 for beta in settings.train.betas):
        yield f"--train.betas {settings.train.betas}: each is a decay from 0 to below 1"
    if contrast.projection != "mlp" and contrast.projection_norm:
        yield (
            f"--contrast.projection_norm true is for hidden layers, which --contrast.projection {contrast.projection}"
            " lacks: use --contrast.projection mlp or --contrast.projection_norm false"
        )
    if finetune.mode != "full" and finetune.micro_batch > 0:
        yield f"--finetune.mode {finetune.mode} has no encoder to train: set finetune.micro_batch to 0"
    if 1 in (pretrain.micro_batch, finetune.micro_batch):
        yield "a micro_batch of 1 leaves batch norm no statistics: use 2 or more, or 0 for the batch at once"
    if settings.predict.class_mean_weight > 0 and not settings.predict.class_means:
        yield "--predict.class_mean_weight needs the class means: set --predict.class_means true"
    if pretrain.epochs == 0 and (pretrain.memory > 0 or pretrain.use_test):
        name, unset = ("memory", "0") if pretrain.memory > 0 else ("use_test", "false")
        yield (
            f"--pretrain.{name} joins pre-training alone, which --pretrain.epochs 0 leaves out: raise the epochs, or"
            f" set --pretrain.{name} {unset}"
        )


def _of_loss(settings: Settings) -> Iterator[str]:
    contrast, pretrain = settings.contrast, settings.pretrain
    if contrast.epsilon > 0 and not contrast.form.startswith("eps_"):
        yield f"--contrast.epsilon belongs to the forms eps_infonce and eps_supcon: set it to 0 with {contrast.form}"
    if contrast.hardness > 0 and contrast.form == "balanced":
        yield "--contrast.form balanced takes no hardness: set --contrast.hardness 0 or use another form"
    if contrast.prototypes and contrast.form != "balanced":
        yield f"--contrast.prototypes belongs to the form balanced: set it to false with {contrast.form}"
    if contrast.prototypes and (pretrain.memory > 0 or pretrain.use_test):
        yield "--contrast.prototypes goes without --pretrain.memory and --pretrain.use_test: unset those"


def _of_batches(settings: Settings) -> Iterator[str]:
    """Yield what leaves batches of contrast without positives or negatives."""
    pretrain, finetune, batches = settings.pretrain, settings.finetune, settings.batches
    contrasts_pk = finetune.batches == "pk" and finetune.contrasts
    if batches.classes_per_batch == 1 and not settings.contrast.prototypes:
        if pretrain.epochs > 0 and pretrain.contrasts and pretrain.memory == 0 and not pretrain.use_test:
            yield (
                "--batches.classes_per_batch 1 leaves no negatives, so all embeddings become one: raise it to 2 or"
                " more, or give the batches a --pretrain.memory"
            )
        if contrasts_pk:
            yield (
                "--batches.classes_per_batch 1 leaves the batches of --finetune.batches pk no negatives: raise it to 2"
                " or more, or use natural ones"
            )
    if batches.images_per_class == 1 and batches.size == 0:
        without = "1 with batches.images_per_class 1 leaves no positives: raise one of them to 2 or more"
        if pretrain.epochs > 0 and pretrain.contrasts and pretrain.views == 1 and pretrain.memory == 0:
            yield f"pretrain.views {without}"
        if contrasts_pk and finetune.views == 1:
            yield f"finetune.views {without}"
