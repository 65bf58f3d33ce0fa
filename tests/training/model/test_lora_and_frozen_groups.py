"""Frozen groups stay as they are; LoRA trains little, and in the end the encoder is a plain one."""

import copy
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.settings.settings import ModelSettings
from supcon.training.model import lora
from supcon.training.model.encoder import Encoder
from supcon.training.model.lora import add_lora, merge_lora
from supcon.training.model.timm_import import timm
from supcon.training.optimizer import encoder_groups

SIDE = 32
VIEWS = torch.randint(0, 256, (4, SIDE, SIDE, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))


def encoder(name: str, frozen_groups: int = 0) -> Encoder:
    torch.manual_seed(0)
    settings = ModelSettings(encoder=name, pretrained=False, frozen_groups=frozen_groups)
    return Encoder(settings, SIDE, load_weights=False).train()


def train(model: Encoder) -> None:
    groups = encoder_groups(model.backbone, 0.01, 1.0, 0.05)
    optimizer = torch.optim.AdamW([{**group, "lr": 0.01} for group in groups if group["params"]])
    for _ in range(3):
        optimizer.zero_grad()
        (model(VIEWS) - 1).square().mean().backward()
        optimizer.step()


def state(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


@pytest.mark.parametrize("name", ["resnet10t", "vit_tiny_patch16_224", "tf_efficientnet_lite0"])
def test_frozen_groups_keep_weights_and_statistics_and_all_others_change(name: str) -> None:
    model = encoder(name, frozen_groups=2)
    before = state(model.backbone)
    train(model)
    group_of = timm.models.group_parameters(
        model.backbone, cast(Any, model.backbone).group_matcher(coarse=True), reverse=True
    )
    after = state(model.backbone)
    frozen = {key for key, group in group_of.items() if group < 2}
    norms = {key.rpartition(".")[0] for key in frozen}
    for key, tensor in after.items():
        stays = key in frozen or key.rpartition(".")[0] in norms
        if stays:
            assert torch.equal(tensor, before[key]), key
    weights = [key for key in group_of if key not in frozen and key.endswith("weight")]
    assert all(not torch.equal(after[key], before[key]) for key in weights)


def test_there_are_only_so_many_groups() -> None:
    with pytest.raises(UserError, match="resnet10t has 5 groups of layers: use at most 4"):
        encoder("resnet10t", frozen_groups=5)


@pytest.mark.parametrize("name", ["vit_tiny_patch16_224", "resnet10t", "tf_efficientnet_lite0", "convnext_atto"])
def test_lora_begins_as_no_change_and_ends_in_a_plain_encoder_of_the_same_features(name: str) -> None:
    pytest.importorskip("peft")
    model = encoder(name)
    plain = copy.deepcopy(model).eval()(VIEWS)
    names = list(model.state_dict())
    full = sum(weight.numel() for weight in model.parameters() if weight.requires_grad)
    add_lora(model.backbone, 2)
    assert torch.equal(model.eval()(VIEWS), plain)
    assert sum(weight.numel() for weight in model.parameters() if weight.requires_grad) < 0.2 * full
    train(model.train())
    learned = model.eval()(VIEWS)
    assert (learned - plain).abs().max() > 0.01 * plain.abs().max()
    merge_lora(model)
    assert list(model.state_dict()) == names
    # W x + B (A x) against (W + B A) x: some roundings in each of at most a hundred layers
    torch.testing.assert_close(model(VIEWS), learned, rtol=0, atol=1e-4 * float(learned.abs().max()))
    merge_lora(model)  # of a plain encoder nothing
    assert list(model.state_dict()) == names


def test_without_peft_a_line_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lora, "find_spec", lambda _: None)
    with pytest.raises(UserError, match=r"lora_rank 4 needs peft: .* -m pip install peft=="):
        add_lora(nn.Linear(2, 2), 4)
