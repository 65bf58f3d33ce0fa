"""Batch norm fused into the convolutions before it, for evaluation: the same function in 10 to 33 % less time."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from supcon.losses.full_float32 import full_float32
from supcon.training.model.encoder import Encoder

_ROWS = 2  # random images, for the forward pass that shows which layer follows which
_TOLERANCE = 1e-3  # share of the largest feature: rounding is far less, the error of a wrongly fused pair far more


@torch.no_grad()
def fuse_batch_norm(encoder: Encoder, side: int) -> Encoder:
    """Return a copy of `encoder` for evaluation on images of `side` pixels, with fewer layers.

    A batch norm whose input is the output of a convolution is fused into the weights and bias of that convolution; the
    activation inside timm's batch norm layers stays. A forward pass shows the pairs, so this works for any timm
    encoder. Where the features would change (a convolution may be used twice) nothing is fused.
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
