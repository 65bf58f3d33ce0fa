"""What each training stage trains: its model, objective, batches and optimizer, built from a run's settings."""

from pathlib import Path

import torch
from torch import Tensor, nn

from supcon.randomness import seed_everything
from supcon.run.done import intact
from supcon.run.experiment import Experiment
from supcon.settings.settings import Settings
from supcon.settings.training import FinetuneSettings, PretrainSettings
from supcon.training.fold import FoldData
from supcon.training.growth import image_sides
from supcon.training.key_queue import KeyQueue
from supcon.training.loop import Training
from supcon.training.model.adapter import Adapter
from supcon.training.model.classifier import classifier_head
from supcon.training.model.encoder import Encoder, encoder_of, fuse_batch_norm
from supcon.training.model.fitted_head import fit_head
from supcon.training.model.heads import contrast_parts
from supcon.training.model.lora import add_lora
from supcon.training.model.weights import load_weights
from supcon.training.objectives import HeldOut, StageObjective
from supcon.training.optimizer import Group, Schedule, encoder_groups, head_groups, make_optimizer
from supcon.training.ranks import sync_batch_norm


def contrastive_training(experiment: Experiment, fold: int, device: torch.device) -> Training:
    """Build the pre-training of one fold: an encoder, the parts of the contrastive loss, and the classifier's."""
    settings = experiment.settings
    options, shared, classes = settings.pretrain, settings.train, len(experiment.split.classes)
    data = FoldData(experiment, fold, device)
    sampler = data.contrastive_sampler()

    seed_everything(shared.seed, "pretrain", fold)
    encoder = _encoder(settings, data, load_weights=True)
    heads = contrast_parts(encoder.width, classes, settings.contrast) if options.contrasts else {}
    if options.classifies:
        heads["classifier"] = classifier_head(encoder.width, classes, settings)
    loader = data.contrastive_loader(sampler, image_sides(settings, "pretrain", encoder.patch))
    model = nn.ModuleDict({"encoder": encoder, **heads}).to(device)
    if shared.sync_batch_norm:
        sync_batch_norm(model, device)
    _prepare(encoder, settings)
    optimizer = make_optimizer(
        encoder_groups(_trained_part(encoder), options.lr, options.layer_decay, options.weight_decay)
        + head_groups(heads.values(), options.lr, options.weight_decay),
        shared,
    )
    queue = KeyQueue(model, options.memory, options.momentum) if options.memory else None
    held_out = data.held_out_features if data.has_held_out_rows else None
    adjustment = data.logit_adjustment("pretrain").to(device)
    objective = _objective(settings, options, adjustment, held_out, queue)
    schedule = Schedule(optimizer, shared, *data.steps("pretrain"))
    return Training(encoder, model, objective, loader, sampler, optimizer, schedule)


def classifier_training(experiment: Experiment, fold: int, device: torch.device, pretrained: Path | None) -> Training:
    """Build the training of one fold's classifier, from the `pretrained` encoder's file or from the model's weights."""
    settings = experiment.settings
    options, shared, classes = settings.finetune, settings.train, len(experiment.split.classes)
    data = FoldData(experiment, fold, device)

    seed_everything(shared.seed, "finetune", fold)
    encoder = _encoder(settings, data, load_weights=pretrained is None)
    # built only where it is trained: elsewhere it would shift the classifier's random start, which no fingerprint tells
    contrast = contrast_parts(encoder.width, classes, settings.contrast) if options.contrasts else {}
    classifier = classifier_head(encoder.width, classes, settings)
    if pretrained is not None:
        carried = contrast if settings.pretrain.contrasts else {}
        if options.head == "carried" and settings.pretrain.classifies:
            carried = {**carried, "classifier": classifier}
        load_weights(intact(pretrained), encoder=encoder, **carried)
    encoder.to(device)
    if options.head == "fitted":
        fit_head(classifier, data.training_features(encoder), data.train_labels, data.fitted_head_shift)

    sampler = data.classifier_sampler()
    heads = [classifier, *contrast.values()]
    held_out: HeldOut | None = data.held_out_features if data.has_held_out_rows else None
    groups: list[Group] = []
    if options.mode == "full":
        _prepare(encoder, settings)
        loader = data.classifier_loader(sampler, image_sides(settings, "finetune", encoder.patch))
        groups = encoder_groups(_trained_part(encoder), options.encoder_lr, options.layer_decay, options.weight_decay)
        model = nn.ModuleDict({"encoder": encoder, "classifier": classifier, **contrast})
    else:
        frozen = encoder if data.features else fuse_batch_norm(encoder, settings.data.image_size)
        loader = data.feature_loader(sampler, frozen)
        if data.has_held_out_rows:
            watched = data.held_out_features(frozen)  # once: they stay as they are
            held_out = lambda _: watched  # noqa: E731
        model = nn.ModuleDict({"encoder": nn.Identity(), "classifier": classifier})
    model.to(device)
    if shared.sync_batch_norm:
        sync_batch_norm(model, device)
    optimizer = make_optimizer(groups + head_groups(heads, options.lr, options.weight_decay), shared)
    objective = _objective(settings, options, data.logit_adjustment("finetune").to(device), held_out)
    schedule = Schedule(optimizer, shared, *data.steps("finetune"))
    return Training(encoder, model, objective, loader, sampler, optimizer, schedule)


def _objective(
    settings: Settings,
    stage: PretrainSettings | FinetuneSettings,
    adjustment: Tensor,
    held_out: HeldOut | None,
    queue: KeyQueue | None = None,
) -> StageObjective:
    smoothing = settings.finetune.label_smoothing  # of both stages
    return StageObjective(stage, settings.contrast, adjustment, held_out, queue, label_smoothing=smoothing)


def _trained_part(encoder: Encoder | Adapter) -> nn.Module:
    return encoder.backbone if isinstance(encoder, Encoder) else encoder


def _prepare(encoder: Encoder | Adapter, settings: Settings) -> None:
    """Let training change what the settings say, in the way they say."""
    if isinstance(encoder, Encoder):
        if settings.model.lora_rank:
            add_lora(encoder.backbone, settings.model.lora_rank)
        if settings.train.compile:
            encoder.compile_training()


def _encoder(settings: Settings, data: FoldData, *, load_weights: bool) -> Encoder | Adapter:
    """Return the encoder of either stage; of a frozen one the adapter. Raises `UserError` as `encoder_of` does."""
    if data.features:
        return Adapter(data.features.width, settings.model.adapter_width)
    return encoder_of(settings, load_weights=load_weights)
