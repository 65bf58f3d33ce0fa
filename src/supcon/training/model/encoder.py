"""A timm encoder with its weights, its input normalisation, and a faster copy for evaluation."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from supcon.errors import UserError, limit
from supcon.losses.full_float32 import full_float32
from supcon.settings.settings import ModelSettings
from supcon.training.model.convolutions import choose_convolutions
from supcon.training.model.timm_import import timm
from supcon.training.model.weights import start_from

_ROWS = 2  # random images, for the forward pass that shows which batch norm follows which convolution
_TOLERANCE = 1e-3  # share of the largest feature: rounding is far less, the error of a wrongly fused pair far more


class Encoder(nn.Module):
    """A timm backbone with its input normalisation: uint8 views [N, side, side, 3] -> features [N, width]."""

    mean: Tensor
    std: Tensor

    def __init__(self, settings: ModelSettings, side: int, *, load_weights: bool, channels_last: bool = True) -> None:
        """Build the backbone; `load_weights` starts it from the pretrained weights that the settings name."""
        super().__init__()
        self.backbone = _create(settings, side, load_weights and settings.pretrained)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone.to(memory_format=self._format)  # type: ignore[call-overload]  # torch's stubs lack it
        choose_convolutions(self.backbone, torch.get_default_device())
        data = timm.data.resolve_model_data_config(self.backbone)
        self.register_buffer("mean", torch.tensor(data["mean"]).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(data["std"]).view(3, 1, 1) * 255, persistent=False)
        self._training_pass: Callable[[Encoder, Tensor], Tensor] = _features
        self.width = self.measure_width(side, f"--data.image_size {side}")

    def forward(self, views: Tensor) -> Tensor:
        """Return the pooled features."""
        return (self._training_pass if self.training else _features)(self, views)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Do what `to` and its like do; convolutions become those that are fastest where the weights now are."""
        super()._apply(fn, recurse)
        choose_convolutions(self.backbone, next(self.backbone.parameters()).device)
        return self

    def compile_training(self) -> None:
        """Compile the forward pass of training mode with torch.compile; evaluation, with its many sizes, stays eager.

        Each size of batch is compiled once: there is one size, or two with GradCache or `pretrain.use_test`. A function
        is compiled, not the module, so that weights keep their names and a copy of the encoder uses its own weights.
        Dropout draws the same numbers as without compilation, because GradCache's second pass must repeat the first.
        The pass raises `UserError` where compiling fails.
        """
        self._training_pass = _compiled_features()

    def measure_width(self, side: int, asked: str, cure: str = "") -> int:
        """Return the number of features for images of `side` pixels, which a setting has `asked` for.

        Raises `UserError` where the encoder does not take them, with the `cure`, or with sizes that fit.
        """
        # measured by a forward pass, because timm's num_features is not always the size of the pooled output
        training = self.training
        try:
            with torch.no_grad():
                width = self.eval()(torch.zeros(1, side, side, 3, dtype=torch.uint8)).shape[-1]
        except Exception as error:  # an assertion of timm, a shape that does not fit
            if line := limit(error):
                raise line from None
            name, reason = self._made_as["architecture"], " ".join(str(error).split())[:200]
            refusal = f"{asked}: {name} takes no images of {side} pixels ({reason})"
            raise UserError(f"{refusal}: {cure or self._sizes(side)}") from None
        self.train(training)
        return int(width)

    def _sizes(self, side: int) -> str:
        """Say which sizes fit where `side` does not."""
        patch = getattr(getattr(self.backbone, "patch_embed", None), "patch_size", None)
        if patch is None:
            own = self._made_as["input_size"][-1]
            return f"use a size near the {own} pixels that it is made for, or another --model.encoder"
        lower = side // patch[0] * patch[0]
        fitting = " or ".join(str(size) for size in (lower, lower + patch[0]) if size >= 8)
        return f"use {fitting}, as its patches are {patch[0]} pixels wide"

    @property
    def _made_as(self) -> dict[str, Any]:
        return cast(dict[str, Any], self.backbone.pretrained_cfg)


def _features(encoder: Encoder, views: Tensor) -> Tensor:
    images = (views.permute(0, 3, 1, 2).float() - encoder.mean) / encoder.std
    return cast(Tensor, encoder.backbone(images.contiguous(memory_format=encoder._format)))


def _compiled_features() -> Callable[[Encoder, Tensor], Tensor]:
    compiled = torch.compile(_features, dynamic=False, options={"fallback_random": True})

    def features(encoder: Encoder, views: Tensor) -> Tensor:
        try:
            return compiled(encoder, views)
        except Exception as error:
            if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                raise
            reason = " ".join(str(error).split())[:300]
            raise UserError(f"--train.compile true: torch.compile failed ({reason}): set it to false") from error

    return features


def _create(settings: ModelSettings, side: int, pretrained: bool) -> nn.Module:
    options: dict[str, Any] = {"num_classes": 0, "drop_path_rate": settings.drop_path or None}
    if settings.weights and not Path(settings.weights).is_file():
        raise UserError(f"--model.weights {settings.weights}: no such file")
    if not timm.is_model(settings.encoder):
        similar = ", ".join(timm.list_models(f"*{settings.encoder.split('_')[0]}*")[:5])
        raise UserError(
            f"--model.encoder {settings.encoder}: timm has no such model" + (f", but {similar}" if similar else "")
        )
    hub = pretrained and not settings.weights
    try:
        model = _call_timm(settings.encoder, hub, side, options)
    except Exception as error:  # timm, the hub and torch each raise errors of their own
        reason = " ".join(str(error).split())[:300]
        failure, cure = f"could not make it for images of {side} pixels", "choose another encoder or --data.image_size"
        if hub:
            failure = "could not load its weights from the hub"
            cure = "give a local weights file with --model.weights FILE, or --model.pretrained false"
        raise UserError(f"--model.encoder {settings.encoder}: timm {failure} ({reason}): {cure}") from None
    if hub or not pretrained:
        return model

    def convert(state: dict[str, Tensor]) -> nn.Module:
        overlay = {"state_dict": state, "num_classes": -1}  # as of no file: timm then leaves the classifier out
        model = _call_timm(settings.encoder, True, side, {**options, "pretrained_cfg_overlay": overlay})
        cast(dict[str, Any], model.pretrained_cfg).pop("state_dict")  # a second copy
        return model

    return start_from(Path(settings.weights), settings.encoder, model, convert)


def _call_timm(encoder: str, pretrained: bool, side: int, options: dict[str, Any]) -> nn.Module:
    """Create the model. Transformers take the image size, and a flag that prediction may use another size."""
    for size_options in ({"img_size": side, "dynamic_img_size": True}, {"img_size": side}):
        try:
            return timm.create_model(encoder, pretrained, **{**options, **size_options})
        except TypeError as error:
            if not any(name in str(error) for name in size_options):
                raise
    return timm.create_model(encoder, pretrained, **options)


@torch.no_grad()
def fuse_batch_norm(encoder: Encoder, side: int) -> Encoder:
    """Return a copy of `encoder` for evaluation on images of `side` pixels, with fewer layers.

    It is the same function in 10 to 33 % less time: a batch norm whose input is the output of a convolution is fused
    into the weights and bias of that convolution; the activation inside timm's batch norm layers stays. A forward pass
    shows the pairs, so this works for any timm encoder. Where the features would change (a convolution may be used
    twice) nothing is fused.
    """
    plain = copy.deepcopy(encoder).eval()
    device = next(encoder.parameters()).device
    random = torch.Generator().manual_seed(0)  # not the global stream, which training draws from
    views = torch.randint(0, 256, (_ROWS, side, side, 3), dtype=torch.uint8, generator=random).to(device)
    fused = copy.deepcopy(plain)
    for convolution, norm in _pairs(fused, views):
        _fuse(convolution, norm)
    with full_float32(device):  # the rounding of TF32 comes near the tolerance
        features, fused_features = plain(views), fused(views)
    return fused if (fused_features - features).abs().max() <= _TOLERANCE * features.abs().max() else plain


def _pairs(model: nn.Module, views: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each batch norm whose input is a convolution's output, behind that convolution."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the id of the output, which is held so that no id comes twice
    pairs: list[tuple[nn.Conv2d, nn.BatchNorm2d]] = []

    def note_output(module: nn.Module, _: tuple[Tensor, ...], output: Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        made[id(output)] = module, output

    def note_input(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(module, nn.BatchNorm2d)
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])][0], module))

    hooks = [m.register_forward_hook(note_output) for m in model.modules() if isinstance(m, nn.Conv2d)]
    hooks += [m.register_forward_pre_hook(note_input) for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    model(views)
    for hook in hooks:
        hook.remove()
    return pairs


def _fuse(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    convolution.weight, bias = fuse_conv_bn_weights(
        convolution.weight, convolution.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
    )
    convolution.bias = bias
    rest = [getattr(norm, name) for name in ("drop", "act") if hasattr(norm, name)]  # of timm's BatchNormAct2d
    norm.forward = nn.Sequential(*rest).forward  # type: ignore[method-assign]
