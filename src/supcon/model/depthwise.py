"""Depthwise convolutions whose bfloat16 backward pass runs partly in float32, on the CPU.

oneDNN's bfloat16 kernels for the weight gradient of depthwise convolutions, and for the input gradient of strided ones,
are 3 to 5 times slower than its float32 kernels (docs/LOG.md has the table): most of a step of an EfficientNet.
"""

from types import MethodType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.model.zoo import timm


def speed_up_depthwise(model: nn.Module) -> None:
    """Give every depthwise convolution of `model` the faster backward pass; parameters and results stay the same."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == module.groups > 1 and module.bias is None:
            module.forward = MethodType(_forward, module)  # type: ignore[method-assign]


def _forward(self: nn.Conv2d, x: Tensor) -> Tensor:
    if not torch.is_autocast_enabled("cpu") or x.device.type != "cpu" or isinstance(self.padding, str):
        return type(self).forward(self, x)
    x = x.to(torch.get_autocast_dtype("cpu"))
    padding = self.padding
    if type(self) is not nn.Conv2d:  # timm's Conv2dSame pads by itself
        x, padding = timm.layers.pad_same(x, list(self.kernel_size), list(self.stride), list(self.dilation)), (0, 0)
    result: Tensor = _DepthwiseConv.apply(x, self.weight, self.stride, padding, self.dilation)
    return result


class _DepthwiseConv(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: Any, padding: Any, dilation: Any) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.geometry = (stride, padding, dilation)
        return F.conv2d(x, weight.to(x.dtype), None, stride, padding, dilation, groups=x.shape[1])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None, None]:
        x, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry

        def convolution_backward(dtype: torch.dtype, wanted: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
            result: tuple[Tensor, Tensor, Tensor] = torch.ops.aten.convolution_backward(
                gradients[0].to(dtype), x.to(dtype), weight.to(dtype), None,
                stride, padding, dilation, False, [0, 0], x.shape[1], wanted,
            )  # fmt: skip
            return result

        if max(stride) == 1:
            of_input = convolution_backward(x.dtype, [True, False, False])[0]
            of_weight = convolution_backward(torch.float32, [False, True, False])[1]
        else:
            of_input, of_weight, _ = convolution_backward(torch.float32, [True, True, False])
        return of_input.to(x.dtype), of_weight, None, None, None
