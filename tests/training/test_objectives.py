"""The loss that the settings ask for is the one that both stages minimise."""

import math
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.losses import contrastive_bounds, contrastive_loss
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings
from supcon.training.loop import Step
from supcon.training.model.heads import contrast_parts
from supcon.training.objectives import StageObjective
from tests.losses.variants import name_of
from tests.rounding import of_contrast

LABELS = torch.arange(12) % 3
LOSSES: list[dict[str, Any]] = [
    {"form": "in", "temperature": 0.3},
    {"form": "sincere", "hardness": 2.0},
    {"form": "eps_infonce", "epsilon": 0.4},
    {"form": "eps_supcon", "epsilon": 0.4, "hardness": 1.0},
    {"form": "balanced", "temperature": 0.2},
    {"form": "out", "normalize": False},
    {"form": "in", "hardness": 1.0, "normalize": False},
]


def nothing_held_out(encoder: nn.Module) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(1), torch.zeros(1)


class Float(nn.Module):
    def forward(self, images: Tensor) -> Tensor:
        return images.flatten(1).float() / 255


@pytest.mark.parametrize("options", LOSSES, ids=name_of)
@pytest.mark.parametrize("scaled", [False, True])
def test_every_option_of_the_loss_reaches_both_stages(options: dict[str, Any], scaled: bool) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": Float(), "projection": nn.Linear(12, 4), "classifier": nn.Linear(12, 3)})
    views = torch.randint(0, 256, (12, 1, 2, 2, 3))
    settings = ContrastSettings(**options, scale_by_temperature=scaled)
    joint = FinetuneSettings(contrastive_weight=1.0, contrastive_weight_end=1.0)
    embeddings = model["projection"](Float()(views[:, 0]))
    expected = contrastive_loss(embeddings, LABELS, **options, scale_by_temperature=scaled).item()
    floor, collapse = contrastive_bounds(LABELS, **{"temperature": settings.temperature, **options})
    factor = settings.temperature if scaled else 1.0

    pretraining = StageObjective(PretrainSettings(), settings, torch.zeros(3), nothing_held_out)
    loss, metrics = pretraining.backward(model, views, LABELS, Step(0.0, 0, nullcontext))
    length = 1.0 if settings.normalize else embeddings.norm(dim=1).max().item()
    rounding = of_contrast(settings.temperature, settings.hardness, length=length)
    assert loss.item() == pytest.approx(expected, rel=rounding)
    assert (metrics["floor"], metrics["collapse"]) == pytest.approx((floor * factor, collapse * factor))

    finetuning = StageObjective(joint, settings, torch.zeros(3), None)
    _, metrics = finetuning.backward(model, views, LABELS, Step(0.0, 0, nullcontext))
    assert metrics["contrastive"] == pytest.approx(expected, rel=rounding)


def test_a_head_on_cached_features_costs_no_passes() -> None:
    frozen = StageObjective(FinetuneSettings(mode="linear"), ContrastSettings(), torch.zeros(3), None)
    assert frozen.passes(100) == 0


def test_prototypes_join_the_balanced_loss_of_both_stages_and_learn() -> None:
    settings = ContrastSettings(form="balanced", prototypes=True, projection_dim=4, temperature=0.2)
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": Float(), "classifier": nn.Linear(12, 3), **contrast_parts(12, 3, settings)})
    views = torch.randint(0, 256, (12, 1, 2, 2, 3))
    expected = model["prototypes"](model["projection"](Float()(views[:, 0])), LABELS).item()
    pretraining = StageObjective(PretrainSettings(), settings, torch.zeros(3), nothing_held_out)
    joint = FinetuneSettings(contrastive_weight=1.0, contrastive_weight_end=1.0)
    finetuning = StageObjective(joint, settings, torch.zeros(3), None)
    for objective, name in ((pretraining, "loss"), (finetuning, "contrastive")):
        model.zero_grad()
        loss, metrics = objective.backward(model, views, LABELS, Step(0.0, 0, nullcontext))
        assert {"loss": loss.item(), **metrics}[name] == pytest.approx(expected, rel=of_contrast(temperature=0.2))
        assert model["prototypes"].prototypes.grad.abs().sum() > 0  # type: ignore[union-attr, operator]
        assert metrics["collapse"] == pytest.approx(math.log(3))
        assert metrics["valid"] == 1


def test_with_prototypes_a_lone_image_of_a_class_is_a_valid_anchor() -> None:
    settings = ContrastSettings(form="balanced", prototypes=True, projection_dim=4)
    model = nn.ModuleDict({"encoder": Float(), **contrast_parts(12, 3, settings)})
    pretraining = StageObjective(PretrainSettings(), settings, torch.zeros(3), nothing_held_out)
    views, labels = torch.randint(0, 256, (3, 1, 2, 2, 3)), torch.tensor([0, 1, 2])
    _, metrics = pretraining.backward(model, views, labels, Step(0.0, 0, nullcontext))
    assert metrics["valid"] == 1


def test_images_without_a_label_are_no_anchors_that_lack_positives_and_no_neighbours() -> None:
    model = nn.ModuleDict({"encoder": Float(), "projection": nn.Linear(12, 4)})
    held_out = torch.rand(6, 12), torch.arange(6) % 3
    pretraining = StageObjective(PretrainSettings(), ContrastSettings(), torch.zeros(3), lambda encoder: held_out)
    views, labels = torch.randint(0, 256, (8, 1, 2, 2, 3)), torch.tensor([0, 0, 1, 1, 2, 2, 3, 4])
    _, metrics = pretraining.backward(model, views, labels, Step(0.0, 0, nullcontext))
    assert metrics["valid"] == 1
    labels[1] = 5  # now one of five
    assert pretraining.backward(model, views, labels, Step(0.0, 0, nullcontext))[1]["valid"] == pytest.approx(4 / 5)
    assert "knn_macro_f1" in pretraining.end_of_epoch(model)  # a bank with their labels would have no such class


def test_pretraining_adds_cross_entropy_with_its_weight_and_trains_the_classifier() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": Float(), "projection": nn.Identity(), "classifier": nn.Linear(12, 3)})
    views, adjustment = torch.randint(0, 256, (12, 1, 2, 2, 3)), torch.tensor([0.5, -1.0, 0.2])
    stage = PretrainSettings(contrastive_weight=0.7, cross_entropy_weight=0.4)
    objective = StageObjective(stage, ContrastSettings(), adjustment, nothing_held_out, label_smoothing=0.1)
    loss, metrics = objective.backward(model, views, LABELS, Step(0.0, 0, nullcontext))
    features = Float()(views[:, 0])
    cross_entropy = F.cross_entropy(model["classifier"](features) + adjustment, LABELS, label_smoothing=0.1)
    contrast = contrastive_loss(features, LABELS)
    torch.testing.assert_close(loss, (0.7 * contrast + 0.4 * cross_entropy).detach(), rtol=of_contrast(), atol=0)
    torch.testing.assert_close(metrics["cross_entropy"], cross_entropy.detach())
    assert model["classifier"].weight.grad.abs().sum() > 0  # type: ignore[union-attr, operator]


def test_without_contrast_pretraining_is_the_cross_entropy_of_its_batches_alone() -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": Float(), "classifier": nn.Linear(12, 3)})
    views = torch.randint(0, 256, (12, 1, 2, 2, 3))
    stage = PretrainSettings(contrastive_weight=0.0, cross_entropy_weight=1.0)
    held_out = torch.rand(6, 12), torch.arange(6) % 3
    objective = StageObjective(stage, ContrastSettings(), torch.zeros(3), lambda encoder: held_out)
    loss, metrics = objective.backward(model, views, LABELS, Step(0.0, 0, nullcontext))
    torch.testing.assert_close(loss, F.cross_entropy(model["classifier"](Float()(views[:, 0])), LABELS).detach())
    assert metrics == {}
    assert set(objective.end_of_epoch(model)) == {"knn_macro_f1", "held_out_macro_f1"}


@pytest.mark.parametrize("mixup", [0.0, 1.0])
def test_images_without_a_label_have_no_part_in_cross_entropy(mixup: float) -> None:
    torch.manual_seed(0)
    model = nn.ModuleDict({"encoder": Float(), "classifier": nn.Linear(12, 3)})
    views, labels = torch.randint(0, 256, (8, 1, 2, 2, 3)), torch.tensor([0, 1, 2, 3, 4, 2, 1, 0])
    stage = PretrainSettings(contrastive_weight=0.0, cross_entropy_weight=1.0, mixup=mixup)
    objective = StageObjective(stage, ContrastSettings(), torch.zeros(3), nothing_held_out)
    loss, _ = objective.backward(model, views, labels, Step(0.0, 0, nullcontext))
    if mixup == 0:
        labelled = labels < 3
        logits = model["classifier"](Float()(views[labelled, 0]))
        torch.testing.assert_close(loss, F.cross_entropy(logits, labels[labelled]).detach())
    assert math.isfinite(loss.item())
