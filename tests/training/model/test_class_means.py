"""Class means as a classifier, and several classifiers on one forward pass."""

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.training.model.classifier import Classifiers, ClassMeans


def test_log_odds_are_the_cosines_over_the_temperature_plus_the_log_prior() -> None:
    # lengths play no part: class 0 points to (1, 0) and (0, 1), class 1 to (-1, 0)
    features = torch.tensor([[3.0, 0.0], [0.0, 0.1], [-7.0, 0.0]])
    means = ClassMeans(features, torch.tensor([0, 0, 1]), torch.tensor([0.75, 0.25]), temperature=0.5)
    half = math.sqrt(0.5)
    expected = torch.tensor([[half, -1.0], [half, 0.0], [-1.0, half]]) / 0.5 + torch.tensor([0.75, 0.25]).log()
    torch.testing.assert_close(means(torch.tensor([[2.0, 0.0], [0.0, 5.0], [-1.0, -1.0]])), expected)


def test_on_features_that_lie_around_their_means_the_log_odds_are_calibrated() -> None:
    """Von Mises-Fisher features of concentration 1 / temperature, by rejection: probabilities are frequencies."""
    generator = torch.Generator().manual_seed(0)
    angles = torch.rand(400_000, generator=generator) * 2 * math.pi
    labels = (torch.rand(len(angles), generator=generator) < 0.2).long()
    centre = labels * 1.0
    kept = torch.rand(len(angles), generator=generator) < ((angles - centre).cos() - 1).mul(4).exp()
    angles, labels = angles[kept], labels[kept]
    features = torch.stack([angles.cos(), angles.sin()], dim=1)
    probabilities = ClassMeans(features, labels, torch.tensor([0.8, 0.2]), temperature=1 / 4)(features).softmax(dim=1)
    for low in (0.1, 0.3, 0.5, 0.7):
        rows = (probabilities[:, 1] >= low) & (probabilities[:, 1] < low + 0.1)
        assert labels[rows].float().mean().item() == pytest.approx(probabilities[rows, 1].mean().item(), abs=0.03)


def test_a_class_without_rows_is_not_the_answer() -> None:
    means = ClassMeans(torch.randn(6, 4), torch.tensor([0, 0, 0, 2, 2, 2]), torch.tensor([0.5, 0.0, 0.5]), 0.1)
    logits = means(torch.randn(50, 4))
    assert torch.isfinite(logits).all()
    assert (logits.argmax(dim=1) != 1).all()


def test_autocast_does_not_lower_the_precision() -> None:
    features = torch.randn(20, 16)
    means = ClassMeans(features, torch.arange(20) % 3, torch.full((3,), 1 / 3), 0.1)
    with torch.autocast("cpu", torch.bfloat16):
        logits = means(features)
    assert torch.equal(logits, means(features))


def test_classifiers_share_one_forward_pass() -> None:
    class Counting(nn.Flatten):
        calls = 0

        def forward(self, views: Tensor) -> Tensor:
            self.calls += 1
            return super().forward(views)

    encoder, head = Counting(), nn.Linear(6, 3)
    views = torch.randn(5, 2, 3)
    means = ClassMeans(views.flatten(1), torch.arange(5) % 3, torch.full((3,), 1 / 3), 0.1)
    features, logits = Classifiers(encoder, nn.ModuleDict({"head": head, "means": means}))(views)
    assert encoder.calls == 1
    assert torch.equal(features, views.flatten(1))
    assert logits.shape == (5, 2, 3)
    assert torch.equal(logits[:, 0], head(views.flatten(1)))
    cosines = F.normalize(views.flatten(1), dim=1) @ means.means.T
    torch.testing.assert_close(logits[:, 1], cosines / 0.1 - math.log(3))
