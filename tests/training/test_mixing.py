"""Mixed views contrast as w L(y_a) + (1 - w) L(y_b)."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from supcon.losses import contrastive_bounds, contrastive_loss
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings
from supcon.training.loop import Step
from supcon.training.mixing import Mixer
from supcon.training.objectives import StageObjective
from tests.rounding import FLOAT32, of_contrast
from tests.training.test_gradcache import model

STEP = Step(0.5, 0, nullcontext)


def images_of(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 8, 8, 3), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("seed", range(3))
def test_mixup_blends_each_image_with_the_one_mirrored_in_the_batch(seed: int) -> None:
    images, labels = images_of(6), torch.arange(6)
    np.random.seed(seed)
    mixed = Mixer(mixup=1.0, cutmix=0.0)(images, labels)
    assert 0 < mixed.weight < 1
    expected = mixed.weight * images.float() + (1 - mixed.weight) * images.flip(0).float()
    torch.testing.assert_close(mixed.images, expected, rtol=0, atol=4 * 255 * FLOAT32)  # two products and a sum
    assert mixed.labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert mixed.partners.tolist() == [5, 4, 3, 2, 1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_cutmix_weighs_by_the_area_that_is_left(seed: int) -> None:
    images, labels = images_of(6), torch.arange(6)
    np.random.seed(seed)
    mixed = Mixer(mixup=0.0, cutmix=1.0)(images, labels)
    own = (mixed.images == images.float()).all(dim=3)
    others = (mixed.images == images.flip(0).float()).all(dim=3)
    assert (own | others).all()
    assert own.float().mean().item() == pytest.approx(mixed.weight, abs=1e-6)


def test_without_alphas_or_with_a_single_image_nothing_is_mixed() -> None:
    for mixer, count in ((Mixer(0.0, 0.0), 6), (Mixer(1.0, 1.0), 1)):
        mixed = mixer(images_of(count), torch.arange(count))
        assert mixed.weight == 1
        assert torch.equal(mixed.images, images_of(count))


@pytest.mark.parametrize("mixer", [Mixer(1.0, 0.0), Mixer(0.0, 1.0)], ids=["mixup", "cutmix"])
def test_the_middle_image_of_an_odd_number_stays_as_it_is(mixer: Mixer) -> None:
    images = images_of(7)
    np.random.seed(0)
    mixed = mixer(images, torch.arange(7))
    assert mixed.partners.tolist() == [6, 5, 4, 3, 2, 1, 0]
    changed = (mixed.images != images.float()).flatten(1).any(dim=1)
    assert changed.tolist() == [True, True, True, False, True, True, True]


def by_hand(network: nn.ModuleDict, views: torch.Tensor, labels: torch.Tensor) -> tuple[torch.Tensor, float]:
    """Mix as the objective will, and return the features and the weight."""
    np.random.seed(11)
    w = np.random.beta(0.7, 0.7) if np.random.rand() < 1 else 1.0  # timm's two draws
    images = views.flatten(0, 1).float()
    return network["encoder"](w * images + (1 - w) * images.flip(0)), float(w)


def test_the_contrastive_loss_of_mixed_views_is_weighed_between_both_labels() -> None:
    network, labels = model(), torch.tensor([0, 0, 1, 1, 2, 0])
    views = torch.randint(0, 256, (6, 2, 2, 2, 3))
    features, w = by_hand(network, views, labels)
    z, y_a = network["projection"](features), labels.repeat_interleave(2)
    expected = w * contrastive_loss(z, y_a) + (1 - w) * contrastive_loss(z, y_a.flip(0))
    objective = StageObjective(PretrainSettings(mixup=0.7), ContrastSettings(), torch.zeros(3), None)
    np.random.seed(11)
    loss, metrics = objective.backward(network, views, labels, STEP)
    torch.testing.assert_close(loss, expected.detach(), rtol=of_contrast(), atol=0)
    floors = [contrastive_bounds(y, 0.1)[0] for y in (y_a, y_a.flip(0))]
    assert metrics["floor"] == pytest.approx(w * floors[0] + (1 - w) * floors[1])


def test_the_joint_loss_of_mixed_views_weighs_both_terms() -> None:
    network, labels = model(), torch.tensor([0, 0, 1, 1, 2, 0])
    views = torch.randint(0, 256, (6, 1, 2, 2, 3))
    features, w = by_hand(network, views, labels)
    z, logits, partners = network["projection"](features), network["classifier"](features), labels.flip(0)
    contrast = w * contrastive_loss(z, labels) + (1 - w) * contrastive_loss(z, partners)
    targets = w * F.one_hot(labels, 3) + (1 - w) * F.one_hot(partners, 3)
    settings = FinetuneSettings(mixup=0.7, contrastive_weight=0.6, contrastive_weight_end=0.6)
    expected = F.cross_entropy(logits, 0.9 * targets + 0.1 / 3) + 0.6 * contrast
    objective = StageObjective(settings, ContrastSettings(), torch.zeros(3), None, label_smoothing=0.1)
    np.random.seed(11)
    loss, _ = objective.backward(network, views, labels, STEP)
    torch.testing.assert_close(loss, expected.detach(), rtol=of_contrast(), atol=0)
