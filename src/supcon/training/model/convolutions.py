"""Convolutions for which PyTorch's kernels on the CPU (oneDNN) are several times slower than they need be.

Three kinds, each with the same parameters and, but for rounding, the same results (docs/PERFORMANCE.md has the times):

- One output pixel an image, as in the last stage of a ResNet on 32 pixels: a linear map of the pixels it sees.
- bfloat16 weight gradients of many channels on a small map: the product of the output's gradient with the columns of
  the input (im2col, Chellapilla et al. 2006).
- bfloat16 gradients of depthwise convolutions: partly in float32.
"""

from functools import partial
from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.training.model.timm_import import timm

Pair = tuple[int, int]


def choose_convolutions(model: nn.Module, device: torch.device) -> None:
    """Give the convolutions of `model` the ways that are fastest on `device`; parameters and results stay the same."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            module.__dict__.pop("forward", None)  # torch's own again
            if device.type == "cpu" and max(module.dilation) == 1 and not isinstance(module.padding, str):
                if module.groups == 1:
                    module.forward = MethodType(_forward, module)  # type: ignore[method-assign]
                elif module.groups == module.in_channels:
                    module.forward = MethodType(_depthwise_forward, module)  # type: ignore[method-assign]


def _forward(self: nn.Conv2d, x: Tensor) -> Tensor:
    x, padding = _padded(self, x)
    kernel, stride = self.kernel_size, self.stride
    height, width = ((x.shape[2 + d] + 2 * padding[d] - kernel[d]) // stride[d] + 1 for d in (0, 1))
    if height == width == 1:
        return _one_pixel(x, self.weight, self.bias, padding)
    if _trains_in_bfloat16(self) and max(kernel) > 1 and height * width <= x.shape[1] / 2:
        return _apply(_SmallMapConv, x, self.weight, stride, padding)
    return F.conv2d(x, self.weight, self.bias, stride, padding)


def _depthwise_forward(self: nn.Conv2d, x: Tensor) -> Tensor:
    if not _trains_in_bfloat16(self):
        return type(self).forward(self, x)
    x, padding = _padded(self, x)
    return _apply(_DepthwiseConv, x, self.weight, self.stride, padding)


def _trains_in_bfloat16(self: nn.Conv2d) -> bool:
    return torch.is_autocast_enabled("cpu") and torch.is_grad_enabled() and self.bias is None


def _padded(self: nn.Conv2d, x: Tensor) -> tuple[Tensor, Pair]:
    """Return the input and the padding it still needs: timm's Conv2dSame pads by itself."""
    if type(self) is nn.Conv2d:
        return x, (int(self.padding[0]), int(self.padding[1]))
    return timm.layers.pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation)), (0, 0)


def _one_pixel(x: Tensor, weight: Tensor, bias: Tensor | None, padding: Pair) -> Tensor:
    """Return the convolution of a padded map that its kernel covers at once: taps on padding are left out."""
    (top, left), (height, width) = padding, weight.shape[2:]
    taps = weight[:, :, top : top + x.shape[2], left : left + x.shape[3]]
    seen = x[:, :, : height - top, : width - left]
    return F.linear(seen.flatten(1), taps.flatten(1), bias)[:, :, None, None]


def _apply(function: Any, x: Tensor, weight: Tensor, stride: Any, padding: Pair) -> Tensor:
    result: Tensor = function.apply(x.to(torch.get_autocast_dtype("cpu")), weight, stride, padding)
    return result


class _SmallMapConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding)
        return F.conv2d(x, weight.to(x.dtype), None, stride, padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding = ctx.geometry
        of_input = None
        if ctx.needs_input_grad[0]:
            of_input = _convolution_backward(gradients[0], x, weight, stride, padding, 1, x.dtype, [True, False])[0]
        return of_input, _weight_gradient(gradients[0], x, weight.shape, stride, padding), None, None


def _weight_gradient(gradient: Tensor, x: Tensor, shape: torch.Size, stride: Pair, padding: Pair) -> Tensor:
    """Return the weight's gradient as the product of the output's with the input's columns."""
    outputs, inputs, height, width = shape
    pixels = F.pad(x.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])).contiguous()
    image, row, column, _ = pixels.stride()
    windows = (len(x), *gradient.shape[2:], height, width, inputs)
    steps = (image, row * stride[0], column * stride[1], row, column, 1)
    columns = pixels.as_strided(windows, steps).reshape(-1, height * width * inputs)
    product = gradient.permute(0, 2, 3, 1).reshape(-1, outputs).T @ columns
    return product.view(outputs, height, width, inputs).permute(0, 3, 1, 2).float()


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, x.shape[1])
        return F.conv2d(x, weight.to(x.dtype), None, stride, padding, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding, groups = ctx.geometry
        backward = partial(_convolution_backward, gradients[0], x, weight, stride, padding, groups)
        if max(stride) == 1:
            of_input, of_weight = backward(x.dtype, [True, False])[0], backward(torch.float32, [False, True])[1]
        else:
            of_input, of_weight = backward(torch.float32, [True, True])
        return of_input.to(x.dtype), of_weight, None, None


def _convolution_backward(
    gradient: Tensor,
    x: Tensor,
    weight: Tensor,
    stride: Pair,
    padding: Pair,
    groups: int,
    dtype: torch.dtype,
    wanted: list[bool],
) -> tuple[Tensor, Tensor]:
    """Return the gradients of input and weight, as far as `wanted`, computed in `dtype`."""
    of_input, of_weight, _ = torch.ops.aten.convolution_backward(
        gradient.to(dtype), x.to(dtype), weight.to(dtype), None,
        stride, padding, (1, 1), False, [0, 0], groups, [*wanted, False],
    )  # fmt: skip
    return of_input, of_weight
