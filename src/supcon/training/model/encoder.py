"""A timm encoder with its weights, its input normalisation, and a faster copy for evaluation."""

import copy
import math
from collections.abc import Callable
from typing import Any, Self, TypeVar, cast

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from supcon.errors import UserError, limit
from supcon.losses.full_float32 import full_float32
from supcon.settings.settings import ModelSettings, Settings
from supcon.training.growth import growing_step, image_sides
from supcon.training.model.convolutions import choose_convolutions
from supcon.training.model.create import create, reason_of, refusal, require_features, sizes_near
from supcon.training.model.frozen_groups import freeze_first_groups
from supcon.training.model.timm_import import timm

_ROWS = 2  # random images, for the forward pass that shows which batch norm follows which convolution
_TOLERANCE = 1e-3  # share of the largest feature: rounding is far less, the error of a wrongly fused pair far more


E = TypeVar("E", bound=nn.Module)


class Encoder(nn.Module):
    """A timm backbone with its input normalisation: uint8 views [N, side, side, 3] -> features [N, width]."""

    mean: Tensor
    std: Tensor

    def __init__(self, settings: ModelSettings, side: int, *, load_weights: bool, channels_last: bool = True) -> None:
        """Build the backbone; `load_weights` starts it from the pretrained weights that the settings name.

        Raises `UserError` as `create` does.
        """
        super().__init__()
        self.backbone = create(settings, side, load_weights=load_weights)
        self._format = torch.channels_last if channels_last else torch.contiguous_format
        self.backbone.to(memory_format=self._format)  # type: ignore[call-overload]  # torch's stubs lack it
        choose_convolutions(self.backbone, torch.get_default_device())
        data = timm.data.resolve_model_data_config(self.backbone)
        self.register_buffer("mean", torch.tensor(data["mean"]).view(3, 1, 1) * 255, persistent=False)
        self.register_buffer("std", torch.tensor(data["std"]).view(3, 1, 1) * 255, persistent=False)
        self._name = settings.encoder
        self.recomputes = settings.checkpointing  # in the backward pass what the forward pass has not kept
        if self.recomputes:
            self._require_checkpointing()
        self._stays = freeze_first_groups(self.backbone, settings.frozen_groups, settings.encoder)
        self._training_pass: Callable[[Encoder, Tensor], Tensor] = _features
        try:
            self.width = self._measure(side)
        except Exception as error:  # an assertion of timm, a shape that does not fit
            raise refusal(error, settings, side, self.patch) from None

    def forward(self, views: Tensor) -> Tensor:
        """Return the pooled features."""
        return (self._training_pass if self.training else _features)(self, views)

    def train(self, mode: bool = True) -> Self:
        """Set the mode; what is recomputed is so in training alone, and what is frozen keeps its batch statistics."""
        super().train(mode)
        for module in self._stays:
            module.eval()
        if self.recomputes:
            cast(Any, self.backbone).set_grad_checkpointing(mode)
        return self

    def _require_checkpointing(self) -> None:
        try:
            cast(Any, self.backbone).set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as error:
            raise UserError(f"--model.checkpointing: timm's {self._name} has none ({error}): set it to false") from None

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

    def require(self, side: int, asked: str, cure: str = "") -> None:
        """Raise `UserError` where it takes no images of `side` pixels, which a setting has `asked` for.

        The line ends with the `cure`, or with sizes that fit.
        """
        try:
            self._measure(side)
        except Exception as error:
            if line := limit(error):
                raise line from None
            if not cure and (fitting := sizes_near(side, self.patch, self._takes)):
                cure = f"use {fitting}"
            cure = cure or "it takes images of --data.image_size alone: leave this out, or use another --model.encoder"
            refused = f"{asked}: {self._name} takes no images of {side} pixels ({reason_of(error)})"
            raise UserError(f"{refused}: {cure}") from None

    def _takes(self, side: int) -> bool:
        try:
            self._measure(side)
        except Exception:
            return False
        return True

    def _measure(self, side: int) -> int:
        """Return the number of features for images of `side` pixels."""
        # measured by a forward pass, because timm's num_features is not always the size of the pooled output
        training = self.training
        with torch.no_grad():
            width = require_features(self.eval()(torch.zeros(1, side, side, 3, dtype=torch.uint8)))
        self.train(training)
        return width

    @property
    def patch(self) -> int:
        """Side of the patches that it cuts images into, pixels: sizes are multiples of it. 1 where it cuts none."""
        embedding = getattr(self.backbone, "patch_embed", None)  # others of that name have strides of their own
        return math.lcm(*embedding.patch_size) if isinstance(embedding, timm.layers.PatchEmbed) else 1


def encoder_of(settings: Settings, *, load_weights: bool) -> Encoder:
    """Return the encoder of either stage. Raises `UserError` where it cannot take every size of the images."""
    data, train = settings.data, settings.train
    encoder = Encoder(settings.model, data.image_size, load_weights=load_weights, channels_last=train.channels_last)
    if data.test_size:  # before hours of training
        encoder.require(data.test_size, f"--data.test_size {data.test_size}")
    if train.first_size:
        patch = encoder.patch
        cure = f"images grow to {data.image_size} in steps of {growing_step(patch)}: use 0, or another --model.encoder"
        for side in sorted({*image_sides(settings, "pretrain", patch), *image_sides(settings, "finetune", patch)}):
            encoder.require(side, f"--train.first_size {train.first_size}", cure)
    return encoder


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


@torch.no_grad()
def fuse_batch_norm(encoder: E, side: int) -> E:
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
