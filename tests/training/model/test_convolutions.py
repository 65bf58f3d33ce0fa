"""Convolutions on the CPU: the faster ways give what PyTorch's own give."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn

from supcon.settings.settings import ModelSettings
from supcon.training.model import convolutions
from supcon.training.model.convolutions import choose_convolutions
from supcon.training.model.encoder import Encoder
from supcon.training.model.timm_import import timm
from tests.rounding import BFLOAT16, distance, of_sums

CPU = torch.device("cpu")


def values_and_gradients(conv: nn.Module, x: Tensor) -> list[Tensor]:
    """Return the output and the gradients of the sum of its squares: of the input, of the weight."""
    x = x.clone().requires_grad_()
    conv.zero_grad()
    y = conv(x)
    y.float().square().sum().backward()
    assert isinstance(x.grad, Tensor)
    return [y.detach().float(), x.grad, conv.weight.grad.clone()]  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("conv", [
    pytest.param((nn.Conv2d(8, 6, 3, 1, 1, bias=False), 1), id="3 x 3 on one pixel"),
    pytest.param((nn.Conv2d(8, 6, 3, 2, 1, bias=False), 2), id="strided 3 x 3 on 2 x 2"),
    pytest.param((nn.Conv2d(8, 6, 1, 2, bias=False), 2), id="strided 1 x 1 on 2 x 2"),
    pytest.param((nn.Conv2d(8, 6, 1, 2, bias=False), 7), id="strided 1 x 1 of few channels"),
    pytest.param((nn.Conv2d(8, 6, 7, 2, 3, bias=False), 2), id="7 x 7 on 2 x 2"),
    pytest.param((nn.Conv2d(8, 6, 4, bias=False), 4), id="4 x 4 without padding"),
    pytest.param((timm.layers.create_conv2d(8, 6, 3, stride=2, padding="same"), 2), id="timm's same padding"),
    pytest.param((nn.Conv2d(8, 6, 3, 1, 1, bias=False), 5), id="more pixels"),
])  # fmt: skip
def test_in_float32_nothing_changes_but_rounding(conv: tuple[nn.Conv2d, int]) -> None:
    layer, side = copy.deepcopy(conv)
    x = torch.randn(3, 8, side, side)
    expected = values_and_gradients(layer, x)
    choose_convolutions(layer, CPU)
    for value, wanted in zip(values_and_gradients(layer, x), expected, strict=True):
        assert distance(value, wanted) <= of_sums(layer.weight.numel())  # no sum is longer


STRIDED = """
import torch
from torch import nn
from supcon.training.model.convolutions import choose_convolutions

layer = nn.Conv2d(3, 48, 1, 2, bias=False).to(memory_format=torch.channels_last)
choose_convolutions(layer, torch.device("cpu"))
for _ in range(20):
    layer(torch.randn(4, 3, 96, 96).contiguous(memory_format=torch.channels_last)).pow(2).sum().backward()
"""


def test_a_strided_convolution_of_few_channels_does_not_end_the_process() -> None:
    assert subprocess.run([sys.executable, "-c", STRIDED], check=False).returncode == 0


DEPTHWISE_SAME = {"padding": "same", "depthwise": True}


@pytest.mark.parametrize("conv", [
    pytest.param((nn.Conv2d(16, 16, 5, 1, 2, groups=16, bias=False), 12), id="depthwise"),
    pytest.param((nn.Conv2d(16, 16, 5, 2, 2, groups=16, bias=False), 12), id="strided depthwise"),
    pytest.param((timm.layers.create_conv2d(16, 16, 5, stride=1, **DEPTHWISE_SAME), 12), id="same depthwise"),
    pytest.param((timm.layers.create_conv2d(16, 16, 5, stride=2, **DEPTHWISE_SAME), 12), id="strided same depthwise"),
    pytest.param((nn.Conv2d(64, 32, 3, 1, 1, bias=False), 4), id="small map"),
    pytest.param((nn.Conv2d(64, 32, 3, 2, 1, bias=False), 9), id="strided small map"),
    pytest.param((nn.Conv2d(64, 32, 5, 1, 0, bias=False), 7), id="small map without padding"),
    pytest.param((nn.Conv2d(64, 32, (3, 1), (2, 1), (1, 0), bias=False), 6), id="small map of other steps across"),
    pytest.param((timm.layers.create_conv2d(64, 32, 3, stride=2, padding="same"), 8), id="same small map"),
    pytest.param((nn.Conv2d(64, 32, 3, 1, 1, bias=False), 1), id="one pixel"),
    pytest.param((nn.Conv2d(8, 32, 3, 1, 1, bias=False), 9), id="large map"),
])  # fmt: skip
def test_bfloat16_values_and_gradients_are_near_those_of_float32(conv: tuple[nn.Conv2d, int]) -> None:
    layer, side = copy.deepcopy(conv)
    x = torch.randn(4, layer.in_channels, side, side).bfloat16().float()
    expected = values_and_gradients(layer, x)
    choose_convolutions(layer, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x).dtype == torch.bfloat16
        values = values_and_gradients(layer, x)
    for value, wanted in zip(values, expected, strict=True):
        # rounded are the weight and the output, then the output's gradient, the weight again, and what comes of them
        assert distance(value, wanted) <= 5 * BFLOAT16


def test_the_first_layer_of_a_network_needs_no_gradient_of_its_images() -> None:
    conv = nn.Conv2d(64, 32, 3, 1, 1, bias=False)
    choose_convolutions(conv, CPU)
    with torch.autocast("cpu", torch.bfloat16):
        conv(torch.randn(2, 64, 4, 4)).float().sum().backward()
    assert isinstance(conv.weight.grad, Tensor)
    assert conv.weight.grad.abs().sum() > 0


def patched(encoder: nn.Module) -> int:
    """Return how many modules have a forward pass of their own."""
    return sum("forward" in module.__dict__ for module in encoder.modules())


def test_off_the_cpu_pytorchs_own_convolutions_run_and_back_on_it_the_faster_ones(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    encoder = Encoder(ModelSettings("test_resnet", pretrained=False), 16, load_weights=False)
    on_cpu = patched(encoder)
    assert on_cpu > 0
    away = nn.ModuleDict({"encoder": copy.deepcopy(encoder)}).to("meta")
    assert patched(away["encoder"]) == 0
    with monkeypatch.context() as patch:
        patch.setattr(convolutions, "_padded", None)  # what all the faster ways begin with
        assert away["encoder"](torch.zeros(2, 16, 16, 3, dtype=torch.uint8, device="meta")).shape == (2, encoder.width)
    assert patched(away["encoder"].to_empty(device="cpu")) == on_cpu
