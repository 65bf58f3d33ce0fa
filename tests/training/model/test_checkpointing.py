"""Activations that are computed again change no gradient and no statistic."""

import pytest
import torch
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.settings.settings import ModelSettings
from supcon.training import gradcache
from supcon.training.model.encoder import Encoder
from supcon.training.model.timm_import import timm

SIDE = 64


def encoder(name: str, *, checkpointing: bool) -> Encoder:
    torch.manual_seed(0)
    settings = ModelSettings(encoder=name, pretrained=False, drop_path=0.2, checkpointing=checkpointing)
    return Encoder(settings, SIDE, load_weights=False).train()


def trained(model: Encoder, chunks: int) -> tuple[Tensor, Tensor, int]:
    """Return gradients, statistics and the bytes that the forward pass kept."""
    views = torch.randint(0, 256, (8, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    kept = 0

    def pack(tensor: Tensor) -> Tensor:
        nonlocal kept
        kept += tensor.numel() * tensor.element_size()
        return tensor

    torch.manual_seed(2)  # of stochastic depth
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        gradcache.backward(model, views, lambda features: (features.float() ** 2).mean(), chunks)
    gradients = torch.cat([weight.grad.flatten() for weight in model.parameters() if weight.grad is not None])
    return gradients, torch.cat([buffer.double().flatten() for buffer in model.buffers()]), kept


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "efficientnet_b0"])
@pytest.mark.parametrize("chunks", [1, 2])
def test_checkpointing_keeps_less_and_changes_no_bit(name: str, chunks: int) -> None:
    plain, kept = (trained(encoder(name, checkpointing=on), chunks) for on in (False, True))
    assert torch.equal(plain[0], kept[0])
    assert torch.equal(plain[1], kept[1])
    assert kept[2] < 0.8 * plain[2]


def test_evaluation_computes_nothing_again() -> None:
    model = encoder("resnet10t", checkpointing=True).eval()
    assert not model.backbone.grad_checkpointing
    assert model.train().backbone.grad_checkpointing


def test_an_encoder_without_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: nn.Module, enable: bool = True) -> None:
        assert not enable, "gradient checkpointing not supported"

    monkeypatch.setattr(timm.models.resnet.ResNet, "set_grad_checkpointing", refuse)
    with pytest.raises(UserError, match=r"--model\.checkpointing: timm's resnet10t has none \(gradient"):
        encoder("resnet10t", checkpointing=True)
