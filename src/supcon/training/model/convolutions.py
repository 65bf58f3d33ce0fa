"""Convolutions for which PyTorch's kernels on the CPU (oneDNN) are several times slower than they need be, or crash.

Four kinds, each with the same parameters and, but for rounding, the same results (docs/PERFORMANCE.md has the times):

- One output pixel an image, as in the last stage of a ResNet on 32 pixels: a linear map of the pixels it sees.
- bfloat16 weight gradients of many channels on a small map: the product of the output's gradient with the columns of
  the input (im2col, Chellapilla et al. 2006).
- bfloat16 gradients of depthwise convolutions: partly in float32.
- Strided 1 x 1 convolutions of few channels, as in the stems of MobileOne, RepVGG and FastViT: one without a stride, of
  the pixels that it sees. With channels_last oneDNN's weight gradient reads beyond the input, and ends the process.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.training.model.timm_import import timm

Pair = tuple[int, int]

_FEW = 16  # channels


def choose_convolutions(model: nn.Module, device: torch.device) -> None:
    """Give the convolutions of `model` the ways that are fastest on `device`; parameters and results stay the same."""
    for module in model.modules():
        if not isinstance(module, nn.Conv2d):
            continue
        module.__dict__.pop("forward", None)  # torch's own again
        plain = max(module.dilation) == 1 and not isinstance(module.padding, str)
        if device.type == "cpu" and plain and module.groups in (1, module.in_channels):
            forward = _forward if module.groups == 1 else _depthwise_forward
            module.forward = MethodType(forward, module)  # type: ignore[method-assign]


def _forward(self: nn.Conv2d, x: Tensor) -> Tensor:
    x, padding = _padded(self, x)
    kernel, stride = self.kernel_size, self.stride
    height, width = ((x.shape[2 + d] + 2 * padding[d] - kernel[d]) // stride[d] + 1 for d in (0, 1))
    if height == width == 1:
        return _one_pixel(x, self.weight, self.bias, padding)
    if max(kernel) == 1 < max(stride) and max(padding) == 0 and x.shape[1] < _FEW:
        return F.conv2d(x[:, :, :: stride[0], :: stride[1]], self.weight, self.bias)
    if _trains_in_bfloat16(self) and max(kernel) > 1 and height * width <= x.shape[1] / 2:
        return _own_gradients(self, x, padding)
    return F.conv2d(x, self.weight, self.bias, stride, padding)


def _depthwise_forward(self: nn.Conv2d, x: Tensor) -> Tensor:
    return _own_gradients(self, *_padded(self, x)) if _trains_in_bfloat16(self) else type(self).forward(self, x)


def _trains_in_bfloat16(self: nn.Conv2d) -> bool:
    is_bfloat16 = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
    return is_bfloat16 and torch.is_grad_enabled() and self.bias is None


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


def _own_gradients(self: nn.Conv2d, x: Tensor, padding: Pair) -> Tensor:
    x = x.to(torch.get_autocast_dtype("cpu"))
    result: Tensor = _Convolution.apply(x, self.weight, self.stride, padding, self.groups)
    return result


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Pair, padding: Pair, groups: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, groups)
        return F.conv2d(x, weight.to(x.dtype), None, stride, padding, groups=groups)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        stride, padding, groups = ctx.geometry

        def computed(dtype: torch.dtype, of_input: bool, of_weight: bool) -> tuple[Tensor, Tensor]:
            tensors = (tensor.to(dtype) for tensor in (gradients[0], x, weight))
            wanted = [of_input, of_weight, False]
            result = torch.ops.aten.convolution_backward(
                *tensors, None, stride, padding, (1, 1), False, [0, 0], groups, wanted
            )
            return result[0], result[1]

        if groups == 1:  # a small map
            of_input = computed(x.dtype, True, False)[0] if ctx.needs_input_grad[0] else None
            return of_input, _weight_gradient(gradients[0], x, weight.shape, stride, padding), None, None, None
        if max(stride) == 1:
            of_input, of_weight = computed(x.dtype, True, False)[0], computed(torch.float32, False, True)[1]
        else:
            of_input, of_weight = computed(torch.float32, True, True)
        return of_input.to(x.dtype), of_weight, None, None, None


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
