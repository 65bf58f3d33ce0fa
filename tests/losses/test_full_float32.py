"""Losses are computed in full float32 precision, whatever precision the encoder uses."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from supcon.losses import contrastive_loss
from supcon.losses.contrastive import BalancedContrast

PRODUCTS = ("mm", "addmm", "bmm", "addmv", "mv")


class Products(TorchDispatchMode):
    """Notes for every matrix product whether TF32 was allowed."""

    def __init__(self) -> None:
        super().__init__()
        self.tf32: list[bool] = []

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if function.overloadpacket.__name__.rstrip("_") in PRODUCTS:
            self.tf32.append(torch.backends.cuda.matmul.allow_tf32)
        return function(*args, **(kwargs or {}))


@pytest.fixture(autouse=True)
def _tf32() -> Iterator[None]:
    torch.backends.cuda.matmul.allow_tf32 = True
    yield
    torch.backends.cuda.matmul.allow_tf32 = False


@pytest.mark.parametrize("form", ["out", "in", "sincere", "balanced", "prototypes"])
def test_no_product_of_a_loss_is_in_tf32_forward_or_backward(form: str) -> None:
    embeddings, labels = torch.randn(30, 8, requires_grad=True), torch.arange(30) % 4
    with Products() as products:
        if form == "prototypes":
            loss = BalancedContrast(4, 8)(embeddings, labels)
        else:
            loss = contrastive_loss(embeddings, labels, form=form)  # type: ignore[arg-type]
        forward = len(products.tf32)
        loss.backward()
    assert 0 < forward < len(products.tf32)
    assert not any(products.tf32)
    assert torch.backends.cuda.matmul.allow_tf32
