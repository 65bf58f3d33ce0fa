"""A timm model as the settings ask for it, or one line that says which setting timm refuses, and what it takes."""

import dataclasses
import difflib
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from supcon.errors import UserError, limit
from supcon.settings.kwargs import read_kwargs
from supcon.settings.settings import ModelSettings
from supcon.training.model.timm_import import timm
from supcon.training.model.weights import start_from, without_warnings

_STEP = 32  # pixels; the sizes that an encoder without patches takes are multiples of it most often


def create(settings: ModelSettings, side: int, *, load_weights: bool) -> nn.Module:
    """Return timm's model for images of `side` pixels; `load_weights` starts it from those that the settings name.

    Raises `UserError` where timm has no such model, where that does not take these arguments or images, and where the
    weights cannot be loaded.
    """
    pretrained = load_weights and settings.pretrained
    if pretrained and settings.weights and not Path(settings.weights).is_file():
        raise UserError(f"--model.weights {settings.weights}: no such file")
    if not timm.is_model(settings.encoder):
        similar = ", ".join(difflib.get_close_matches(settings.encoder, timm.list_models(), 5))
        there = f", but {similar}" if similar else ": timm.list_models() lists those that it has"
        raise UserError(f"--model.encoder {settings.encoder}: timm has no such model{there}")
    hub = pretrained and not settings.weights
    options = _options(settings)
    try:
        with without_warnings() if hub else nullcontext():  # the hub's of each try, which the error sums up
            model = _call_timm(settings.encoder, hub, side, options)
    except Exception as error:  # timm, the hub and torch each raise errors of their own
        if not hub or _misfit(settings, side):
            raise refusal(error, settings, side) from None
        raise UserError(
            f"--model.encoder {settings.encoder}: timm could not load its weights from the hub ({reason_of(error)}):"
            " give a local weights file with --model.weights FILE, or --model.pretrained false"
        ) from None
    if hub or not pretrained:
        return model

    def convert(state: dict[str, Tensor]) -> nn.Module:
        overlay = {"state_dict": state, "num_classes": -1}  # as of no file: timm then leaves the classifier out
        model = _call_timm(settings.encoder, True, side, {**options, "pretrained_cfg_overlay": overlay})
        cast(dict[str, Any], model.pretrained_cfg).pop("state_dict")  # a second copy
        return model

    return start_from(Path(settings.weights), settings.encoder, model, convert)


def refusal(error: Exception, settings: ModelSettings, side: int, patch: int = 1) -> UserError:
    """Return as one line why an encoder of patches of `patch` pixels could not be made, or took no images of `side`."""
    if line := limit(error):
        return line
    name, reason = settings.encoder, reason_of(error)
    fitting = sizes_near(side, patch, lambda other: _misfit(settings, other) == "")
    if settings.kwargs:
        without = _misfit(dataclasses.replace(settings, kwargs=""), side)
        if not without:
            images, size = (
                (f" for images of {side} pixels", f"use --data.image_size {fitting}, or ") if fitting else ("", "")
            )
            return UserError(
                f"--model.kwargs {settings.kwargs}: timm's {name} refuses it{images} ({reason}): {size}give it what its"
                f" class in {timm.model_entrypoint(name).__module__} takes"
            )
        reason = without
    own = cast(Any, timm.models.get_pretrained_cfg(name)).input_size[-1]
    cure = f"use {fitting}" if fitting else f"use the {own} pixels that it is made for, or another --model.encoder"
    return UserError(f"--data.image_size {side}: {name} takes no images of {side} pixels ({reason}): {cure}")


def sizes_near(side: int, patch: int, fits: Callable[[int], bool]) -> str:
    """Return the nearest sizes below and above `side` pixels that fit, with why where that is the patch; "" if none."""
    step = patch if side % patch else patch * max(1, round(_STEP / patch))
    lower = side // step * step
    fitting = " or ".join(str(size) for size in (lower, lower + step) if size >= 8 and size != side and fits(size))
    return fitting + (f", as its patches are {patch} pixels wide" if fitting and side % patch else "")


def require_features(features: Tensor) -> int:
    """Return the width of features [images, width]. Raises `ValueError` for what an encoder gives in another shape."""
    if features.ndim != 2:
        raise ValueError(f"it gives features of the shape {list(features.shape)}, not of [images, width]")
    return features.shape[1]


def reason_of(error: Exception) -> str:
    """Return what an error says, in one line, with its kind where that is less than two words."""
    words = " ".join(str(error).split())[:300]
    return words if " " in words else f"{type(error).__name__} {words}".strip()


def _misfit(settings: ModelSettings, side: int) -> str:
    """Return why timm's model, which is made without weights, takes no images of `side` pixels; "" where it does."""
    try:
        model = _call_timm(settings.encoder, False, side, _options(settings)).eval()
        with torch.no_grad():
            require_features(model(torch.zeros(1, 3, side, side)))
    except Exception as error:  # an assertion of timm, a shape that does not fit
        return reason_of(error)
    return ""


def _options(settings: ModelSettings) -> dict[str, Any]:
    return {"num_classes": 0, "drop_path_rate": settings.drop_path or None, **read_kwargs(settings.kwargs)}


def _call_timm(encoder: str, pretrained: bool, side: int, options: dict[str, Any]) -> nn.Module:
    """Create the model. Transformers take the image size, and a flag that prediction may use another size."""
    for size_options in ({"img_size": side, "dynamic_img_size": True}, {"img_size": side}):
        try:
            return timm.create_model(encoder, pretrained, **{**options, **size_options})
        except TypeError as error:
            if not any(name in str(error) for name in size_options):
                raise
    return timm.create_model(encoder, pretrained, **options)
