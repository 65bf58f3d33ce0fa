"""Batch norm folded into the convolutions before it, for evaluation: a tenth to a third less time, same function."""

import copy

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights

from supcon.losses.full_float32 import full_float32
from supcon.training.model.encoder import Encoder

_ROWS = 2  # images that show what follows what
_TOLERANCE = 1e-3  # of the largest feature: rounding stays far below, a wrong pair far above


@torch.no_grad()
def fuse_batch_norm(encoder: Encoder, side: int) -> Encoder:
    """Return a copy of `encoder` for evaluation on images of `side` pixels, with fewer layers.

    Each batch norm whose input is a convolution's output becomes part of its weights and bias; its activation stays.
    Pairs are found by watching a forward pass, so any timm encoder will do. Where the copy's features are not the
    encoder's (a convolution that is used twice, say) nothing is folded.
    """
    plain = copy.deepcopy(encoder).eval()
    device = next(encoder.parameters()).device
    draw = torch.Generator().manual_seed(0)  # the global stream is the training's
    views = torch.randint(0, 256, (_ROWS, side, side, 3), dtype=torch.uint8, generator=draw).to(device)
    shorter = copy.deepcopy(plain)
    for convolution, norm in _pairs(shorter, views):
        _fuse(convolution, norm)
    with full_float32(device):  # the rounding of TF32 comes near the tolerance
        features, found = plain(views), shorter(views)
    return shorter if (found - features).abs().max() <= _TOLERANCE * features.abs().max() else plain


def _pairs(model: nn.Module, views: Tensor) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    """Return each convolution whose output a batch norm takes, with that batch norm."""
    made: dict[int, tuple[nn.Conv2d, Tensor]] = {}  # by the output's id; held, so that no id comes twice
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
