"""Projection heads: the layers that settings build, and which settings can load a saved head."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from supcon.errors import UserError
from supcon.losses import BalancedContrast
from supcon.run.stage import fingerprint
from supcon.run.stages import STAGE
from supcon.settings import parse
from supcon.settings.training import ContrastSettings, FinetuneSettings
from supcon.training.model.heads import contrast_parts, projection_head
from supcon.training.model.weights import load_weights, save_weights


def test_the_default_head_is_the_papers_two_layers_to_the_byte() -> None:
    torch.manual_seed(0)
    head = projection_head(20, ContrastSettings(projection_hidden=32, projection_dim=8))
    torch.manual_seed(0)
    paper = nn.Sequential(nn.Linear(20, 32), nn.ReLU(), nn.Linear(32, 8))
    assert list(head.state_dict()) == list(paper.state_dict())
    for name, parameter in paper.state_dict().items():
        assert torch.equal(head.state_dict()[name], parameter)


@pytest.mark.parametrize("layers", [2, 3, 5])
@pytest.mark.parametrize("norm", [False, True])
def test_depth_counts_linear_layers_and_batch_norm_follows_the_hidden_ones(layers: int, norm: bool) -> None:
    settings = ContrastSettings(projection_layers=layers, projection_norm=norm, projection_hidden=32, projection_dim=8)
    head = projection_head(20, settings)
    linear = [module for module in head.modules() if isinstance(module, nn.Linear)]
    assert [module.out_features for module in linear] == [32] * (layers - 1) + [8]
    assert [module.bias is not None for module in linear] == [not norm] * (layers - 1) + [True]
    kinds = [type(module) for module in head.children()]
    assert kinds == [nn.Linear, *([nn.BatchNorm1d] if norm else []), nn.ReLU] * (layers - 1) + [nn.Linear]
    assert head(torch.randn(6, 20)).shape == (6, 8)


def test_a_linear_projection_is_one_layer() -> None:
    head = projection_head(20, ContrastSettings(projection="linear", projection_dim=8))
    assert [tuple(parameter.shape) for parameter in head.parameters()] == [(8, 20), (8,)]


def test_without_a_projection_the_loss_and_its_prototypes_see_the_features() -> None:
    settings = ContrastSettings(projection="none", projection_dim=8, form="balanced", prototypes=True)
    parts = contrast_parts(20, 3, settings)
    features = torch.randn(6, 20)
    assert parts["projection"](features) is features
    assert [tuple(parameter.shape) for part in parts.values() for parameter in part.parameters()] == [(3, 20)]
    assert parts["prototypes"](features, torch.tensor([0, 0, 1, 1, 2, 2])).isfinite()


@pytest.mark.parametrize("normalize", [True, False])
def test_prototypes_have_the_temperature_and_the_lengths_of_the_settings(normalize: bool) -> None:
    options: dict[str, Any] = {"temperature": 0.7, "normalize": normalize}
    settings = ContrastSettings(projection="none", form="balanced", prototypes=True, **options)
    ours, reference = contrast_parts(20, 3, settings)["prototypes"], BalancedContrast(3, 20, **options)
    reference.load_state_dict(ours.state_dict())
    features, labels = torch.randn(6, 20), torch.tensor([0, 0, 1, 1, 2, 2])
    assert ours(features, labels) == reference(features, labels)


@pytest.mark.parametrize("projection", ["linear", "none"])
def test_batch_norm_is_refused_where_there_are_no_hidden_layers(projection: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"{projection} lacks: use --contrast\.projection mlp"):
        parse("", ["--root", str(tmp_path), f"--contrast.projection={projection}", "--contrast.projection_norm=true"])


def test_a_saved_head_is_loaded_by_the_same_settings_only(tmp_path: Path) -> None:
    settings = ContrastSettings(projection_layers=3, projection_norm=True, projection_hidden=16, projection_dim=4)
    first, second = projection_head(8, settings), projection_head(8, settings)
    first(torch.randn(5, 8))  # moves the running statistics
    save_weights(tmp_path / "encoder.safetensors", projection=first)
    load_weights(tmp_path / "encoder.safetensors", projection=second)
    features = torch.randn(5, 8)
    torch.testing.assert_close(first.eval()(features), second.eval()(features))
    for other in (
        {"projection": "linear"},
        {"projection": "none"},
        {"projection_layers": 2},
        {"projection_norm": False},
    ):
        with pytest.raises(UserError, match=r"encoder\.safetensors could not be loaded"):
            load_weights(
                tmp_path / "encoder.safetensors", projection=projection_head(8, dataclasses.replace(settings, **other))
            )


def test_every_setting_of_loss_and_projection_is_in_the_fingerprints_of_what_it_shapes(tmp_path: Path) -> None:
    request = parse("", ["--root", str(tmp_path)])
    keys = {f"contrast.{field.name}" for field in dataclasses.fields(ContrastSettings)}
    assert "contrast.normalize" in keys
    assert keys <= fingerprint(STAGE["pretrain"], request, {}).keys()
    joint = dataclasses.replace(request.settings, finetune=FinetuneSettings(contrastive_weight=0.3))
    plain = dataclasses.replace(request.settings, finetune=FinetuneSettings())
    assert keys <= fingerprint(STAGE["finetune"], dataclasses.replace(request, settings=joint), {}).keys()
    assert not keys & fingerprint(STAGE["finetune"], dataclasses.replace(request, settings=plain), {}).keys()
