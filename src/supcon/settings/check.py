"""Values that no run can use are refused before anything is written."""

import os
from collections.abc import Iterator
from itertools import chain

from supcon.errors import UserError
from supcon.settings.bounds import out_of_bounds
from supcon.settings.kwargs import read_kwargs
from supcon.settings.settings import TRACKERS, Settings


def check_run_name(flag: str, run: str) -> None:
    """Raise `UserError` for a run that can be no folder below runs/."""
    taken, elsewhere = run in ("", ".", "..", "old"), "/" in run or "\\" in run
    if taken or elsewhere or not run.isprintable() or len(os.fsencode(run)) > 200:
        raise UserError(f"{flag} {run[:200]!r} is not a folder name: use letters, digits, '-' and '_', at most 200")


def check(settings: Settings) -> None:
    """Raise `UserError` for a value out of bounds or for settings that exclude each other."""
    _ = settings.data.fixed_range, settings.data.band_numbers, read_kwargs(settings.model.kwargs)  # they raise it, too
    for problem in chain.from_iterable(part(settings) for part in _PARTS):
        raise UserError(problem)


def _of_run(settings: Settings) -> Iterator[str]:
    """Yield what does not go together in what a run reads and is told to."""
    for name in settings.trackers:
        if name not in TRACKERS:
            yield f"--track {name[:50]}: no such tracker: name some of {', '.join(TRACKERS)}, with commas, or none"
    if settings.trackers and "none" in settings.track:
        yield f"--track {settings.track[:50]}: name trackers, or none"
    if settings.pseudo.run:
        check_run_name("--pseudo.run", settings.pseudo.run)
    if settings.data.positive_class and settings.data.submit == "label":
        yield "--data.positive_class is for a probability: leave it out with --data.submit label"
    if not (settings.train.first_size == 0 or 8 <= settings.train.first_size <= settings.data.image_size):
        yield (
            f"--train.first_size {settings.train.first_size}: images grow to --data.image_size"
            f" {settings.data.image_size}: use 8 to that, or 0 for the one size throughout"
        )
    if settings.augment.policy != "none" and settings.augment.on_device:
        yield (
            f"--augment.policy {settings.augment.policy} is made in loader processes: set --augment.on_device false, or"
            " --augment.policy none"
        )
    if not all(0 <= beta < 1 for beta in settings.train.betas):
        yield f"--train.betas {settings.train.betas}: each is a decay from 0 to below 1"


def _of_encoder(settings: Settings) -> Iterator[str]:
    """Yield what leaves the encoder's settings without effect."""
    pretrain, finetune = settings.pretrain, settings.finetune
    if settings.model.weights and not settings.model.pretrained:
        yield "--model.weights is not read with --model.pretrained false: set it to true, or leave weights out"
    for name in ("lora_rank", "frozen_groups"):
        if getattr(settings.model, name) and pretrain.epochs == 0 and finetune.mode != "full":
            yield f"--model.{name}: no stage trains the encoder here: use --finetune.mode full, or set it to 0"


def _of_pretrain(settings: Settings) -> Iterator[str]:
    pretrain = settings.pretrain
    if pretrain.epochs > 0 and not (pretrain.contrasts or pretrain.classifies):
        yield (
            "--pretrain.contrastive_weight 0 with --pretrain.cross_entropy_weight 0 leaves pretrain nothing to learn:"
            " raise one of them, or set --pretrain.epochs 0"
        )
    if (pretrain.memory > 0 or pretrain.use_test) and not pretrain.contrasts:
        name, unset = ("memory", "0") if pretrain.memory > 0 else ("use_test", "false")
        yield f"--pretrain.{name} joins contrast alone: raise --pretrain.contrastive_weight, or set it to {unset}"
    if pretrain.epochs == 0 and (pretrain.memory > 0 or pretrain.use_test):
        name, unset = ("memory", "0") if pretrain.memory > 0 else ("use_test", "false")
        yield (
            f"--pretrain.{name} joins pre-training alone, which --pretrain.epochs 0 leaves out: raise the epochs, or"
            f" set --pretrain.{name} {unset}"
        )


def _of_finetune(settings: Settings) -> Iterator[str]:
    pretrain, finetune = settings.pretrain, settings.finetune
    if finetune.contrasts and finetune.mode != "full":
        yield (
            f"--finetune.contrastive_weight trains the encoder, which --finetune.mode {finetune.mode} freezes:"
            " use --finetune.mode full or a weight of 0"
        )
    if finetune.mode != "full" and max(finetune.mixup, finetune.cutmix) > 0:
        yield f"--finetune.mode {finetune.mode} sees features, not images: set finetune.mixup and finetune.cutmix to 0"
    if finetune.mode == "mlp" and (finetune.classifier == "cosine" or finetune.head == "fitted"):
        name, value = ("classifier", "cosine") if finetune.classifier == "cosine" else ("head", "fitted")
        yield f"--finetune.{name} {value} is for one layer, and --finetune.mode mlp has two: use mode linear or full"
    if finetune.mode != "full" and finetune.micro_batch > 0:
        yield f"--finetune.mode {finetune.mode} has no encoder to train: set finetune.micro_batch to 0"
    if 1 in (pretrain.micro_batch, finetune.micro_batch):
        yield "a micro_batch of 1 leaves batch norm no statistics: use 2 or more, or 0 for the batch at once"


def _of_members(settings: Settings) -> Iterator[str]:
    """Yield what predicts beside the head without what it is made of."""
    if settings.predict.class_mean_weight > 0 and not settings.predict.class_means:
        yield "--predict.class_mean_weight needs the class means: set --predict.class_means true"
    if "class_means" in settings.tune.members and not settings.predict.class_means:
        yield "--tune.members class_means needs them: set --predict.class_means true"
    if "neighbours" in settings.tune.members and not (settings.predict.neighbours or settings.tune.runs):
        yield "--tune.members neighbours needs them: set --predict.neighbours, such as 50"
    if settings.tune.members and settings.pseudo.run:
        yield "--tune.members goes without --pseudo.run, whose two rounds are members already: leave one out"
    if len(set(settings.tune.members)) < len(settings.tune.members):
        yield "--tune.members names one twice: name each once"


def _of_frozen(settings: Settings) -> Iterator[str]:
    """Yield what has no effect on an encoder that stays as it is, or on its features."""
    train, model, augment = settings.train, settings.model, settings.augment
    stages = (("pretrain", settings.pretrain), ("finetune", settings.finetune))
    given = {
        "model.pretrained false": not model.pretrained,
        "model.checkpointing true": model.checkpointing,
        "model.drop_path": model.drop_path > 0,
        "model.lora_rank": model.lora_rank > 0,
        "model.frozen_groups": model.frozen_groups > 0,
        "train.first_size": train.first_size > 0,
        "train.compile true": train.compile,
        "augment.on_device true": augment.on_device,
        **{f"{name}.layer_decay": stage.layer_decay < 1 for name, stage in stages},
        **{f"{name}.mixup": stage.mixup > 0 for name, stage in stages},
        **{f"{name}.cutmix": stage.cutmix > 0 for name, stage in stages},
    }
    for name in (name for name, has in given.items() if has and model.frozen):
        yield f"--{name} is for an encoder that is trained on images: leave it out with --model.frozen true"
    if model.frozen and settings.pretrain.epochs and settings.pretrain.strength != settings.finetune.strength:
        yield "--model.frozen true computes random views once: pretrain.strength and finetune.strength must be equal"


def _of_average(settings: Settings) -> Iterator[str]:
    runs = settings.average.runs
    if len(runs) == 1:
        yield f"--average.runs {runs[0]}: an average is of two runs or more"
    if twice := [name for number, name in enumerate(runs) if name in runs[:number]]:
        yield f"--average.runs names {twice[0]} twice: name each run once"
    if runs and settings.tune.runs:
        yield (
            "a run blends predictions (tune.runs) or averages weights (average.runs, --soup), not both: use another"
            " --run, or give --runs with --soup"
        )


def _of_loss(settings: Settings) -> Iterator[str]:
    contrast, pretrain = settings.contrast, settings.pretrain
    if contrast.projection != "mlp" and contrast.projection_norm:
        yield (
            f"--contrast.projection_norm true is for hidden layers, which --contrast.projection {contrast.projection}"
            " lacks: use --contrast.projection mlp or --contrast.projection_norm false"
        )
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


_PARTS = (
    out_of_bounds, _of_run, _of_encoder, _of_pretrain, _of_finetune, _of_members, _of_average, _of_frozen, _of_loss,
    _of_batches,
)  # fmt: skip
