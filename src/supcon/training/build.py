"""What each training stage trains: its model, objective, batches and optimizer, built from a run's settings."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from supcon.errors import UserError
from supcon.randomness import seed_everything
from supcon.run.experiment import Experiment
from supcon.settings.settings import Settings
from supcon.training.fold import FoldData
from supcon.training.key_queue import KeyQueue
from supcon.training.loop import Training
from supcon.training.model.classifier import classifier_head
from supcon.training.model.encoder import Encoder, fuse_batch_norm
from supcon.training.model.heads import contrast_parts
from supcon.training.model.timm_import import timm
from supcon.training.model.weights import load_weights
from supcon.training.objectives import Classification, ContrastivePretraining, HeldOut
from supcon.training.ranks import sync_batch_norm

Group = dict[str, Any]  # params: list of parameters; weight_decay; peak_lr: the learning rate after the warm-up


def contrastive_training(experiment: Experiment, fold: int, device: torch.device) -> Training:
    """Build the pre-training of one fold: an encoder with the parts of the contrastive loss."""
    settings = experiment.settings
    options, shared = settings.pretrain, settings.train
    data = FoldData(experiment, fold, device)
    sampler = data.contrastive_sampler()
    loader = data.contrastive_loader(sampler)

    seed_everything(shared.seed, "pretrain", fold)
    encoder = _encoder(settings, load_weights=True)
    contrast = contrast_parts(encoder.width, len(experiment.split.classes), settings.contrast)
    model = nn.ModuleDict({"encoder": encoder, **contrast}).to(device)
    if shared.sync_batch_norm:
        sync_batch_norm(model, device)
    if shared.compile:
        encoder.compile_training()
    optimizer = adamw(
        encoder_groups(encoder.backbone, options.lr, options.layer_decay, options.weight_decay)
        + head_groups(contrast.values(), options.lr, options.weight_decay)
    )
    memory = KeyQueue(model, options.memory, options.momentum) if options.memory else None
    held_out = data.held_out_features if data.has_held_out_rows else None
    objective = ContrastivePretraining(options, settings.contrast, len(experiment.split.classes), held_out, memory)
    return Training(encoder, model, objective, loader, sampler, optimizer)


def classifier_training(experiment: Experiment, fold: int, device: torch.device, pretrained: Path | None) -> Training:
    """Build the training of one fold's classifier, from the `pretrained` encoder's file or from the model's weights."""
    settings = experiment.settings
    options, shared = settings.finetune, settings.train
    data = FoldData(experiment, fold, device)

    seed_everything(shared.seed, "finetune", fold)
    encoder = _encoder(settings, load_weights=pretrained is None)
    # built only where it is trained: elsewhere it would shift the classifier's random start, which no fingerprint tells
    classes = len(experiment.split.classes)
    contrast = contrast_parts(encoder.width, classes, settings.contrast) if options.contrasts else {}
    classifier = classifier_head(encoder.width, classes, options.mode, settings.model.dropout)
    if pretrained is not None:
        load_weights(pretrained, encoder=encoder, **contrast)
    encoder.to(device)

    sampler = data.classifier_sampler()
    heads = [classifier, *contrast.values()]
    held_out: HeldOut | None = data.held_out_features if data.has_held_out_rows else None
    if options.mode == "full":
        if shared.compile:
            encoder.compile_training()
        loader = data.classifier_loader(sampler)
        groups = encoder_groups(encoder.backbone, options.encoder_lr, options.layer_decay, options.weight_decay)
        model = nn.ModuleDict({"encoder": encoder, "classifier": classifier, **contrast})
    else:
        frozen = fuse_batch_norm(encoder, settings.data.image_size)
        loader = data.feature_loader(sampler, frozen)
        if data.has_held_out_rows:
            watched = data.held_out_features(frozen)  # once: they stay as they are
            held_out = lambda _: watched  # noqa: E731
        groups = []
        model = nn.ModuleDict({"encoder": nn.Identity(), "classifier": classifier})
    model.to(device)
    if shared.sync_batch_norm:
        sync_batch_norm(model, device)
    optimizer = adamw(groups + head_groups(heads, options.lr, options.weight_decay))
    objective = Classification(options, settings.contrast, data.sampling_prior.to(device), held_out)
    return Training(encoder, model, objective, loader, sampler, optimizer)


def encoder_groups(backbone: nn.Module, lr: float, layer_decay: float, weight_decay: float) -> list[Group]:
    """Return parameter groups of a timm backbone: a layer's rate is `layer_decay` times that of the layer after it."""
    if layer_decay < 1 and hasattr(backbone, "group_matcher"):
        groups = timm.optim.param_groups_layer_decay(backbone, weight_decay=weight_decay, layer_decay=layer_decay)
    else:
        groups = timm.optim.param_groups_weight_decay(backbone, weight_decay=weight_decay)
    return [
        {"params": group["params"], "weight_decay": group["weight_decay"], "peak_lr": lr * group.get("lr_scale", 1.0)}
        for group in groups
    ]


def head_groups(heads: Iterable[nn.Module], lr: float, weight_decay: float) -> list[Group]:
    """Return parameter groups of heads."""
    return [group for head in heads for group in encoder_groups(head, lr, 1.0, weight_decay)]


def adamw(groups: list[Group]) -> torch.optim.Optimizer:
    """Return AdamW over `groups`, whose learning rates `set_lr` sets at each step.

    The fused kernel is used: on one CPU core a step of a resnet10t takes 9 ms instead of 36.
    """
    return torch.optim.AdamW([group for group in groups if group["params"]], lr=0.0, fused=True)


def _encoder(settings: Settings, *, load_weights: bool) -> Encoder:
    """Return the encoder of either stage. Raises `UserError` where it cannot take the size that images begin with."""
    side, first, channels_last = settings.data.image_size, settings.train.first_size, settings.train.channels_last
    encoder = Encoder(settings.model, side, load_weights=load_weights, channels_last=channels_last)
    if first:
        try:
            encoder.measure_width(first)
        except Exception as error:  # an assertion of timm, a shape that does not fit
            reason = " ".join(str(error).split())[:200]
            raise UserError(
                f"--train.first_size {first}: {settings.model.encoder} does not take images of that size ({reason}):"
                " use 0, or another encoder"
            ) from None
    return encoder
