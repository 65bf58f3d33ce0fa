"""Alignment and uniformity, against values by hand and the definitions."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from supcon.metrics.geometry import alignment, uniformity


def random_batch(items: int = 37, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(items, 6, generator=generator, dtype=torch.float64)
    return z, torch.randint(classes, (items,), generator=generator)


def test_a_value_by_hand() -> None:
    # 0, 90 and 180 degrees in class 3; an item alone in its class
    z = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-5.0, 0.0], [0.0, -1.0]])
    labels = torch.tensor([3, 3, 3, 7])
    assert alignment(z, labels) == pytest.approx(((2 + 4) / 2 + (2 + 2) / 2 + (4 + 2) / 2) / 3)
    root = math.sqrt(2)
    assert alignment(z, labels, alpha=1) == pytest.approx(((root + 2) / 2 + root + (2 + root) / 2) / 3)
    assert uniformity(z, t=1) == pytest.approx(math.log((4 * math.exp(-2) + 2 * math.exp(-4)) / 6))


def test_every_item_with_positives_counts_once_whatever_the_size_of_its_class() -> None:
    z = torch.tensor([[1.0, 0.0]] * 6 + [[0.0, 1.0], [0.0, -1.0]])
    labels = torch.tensor([0] * 6 + [1, 1])
    assert alignment(z, labels) == pytest.approx((6 * 0 + 2 * 4) / 8)  # by pairs it would be 4 / 16


@pytest.mark.parametrize("alpha", [1, 2, 3.5])
def test_alignment_is_that_of_the_definition(alpha: float) -> None:
    z, labels = random_batch()
    unit = torch.nn.functional.normalize(z, dim=1)
    means = []
    for i in range(len(z)):
        others = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        means += [sum(float((unit[i] - unit[p]).norm()) ** alpha for p in others) / len(others)] if others else []
    assert alignment(z, labels, alpha) == pytest.approx(sum(means) / len(means))


def test_uniformity_is_that_of_the_definition() -> None:
    z, _ = random_batch()
    unit = torch.nn.functional.normalize(z, dim=1)
    pairs = [math.exp(-2 * float((a - b).square().sum())) for a, b in itertools.combinations(unit, 2)]
    assert uniformity(z) == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_the_optima_and_the_collapse_are_known() -> None:
    labels = torch.arange(8) % 2
    collapsed, orthogonal = torch.ones(8, 4), torch.eye(8)
    simplex = orthogonal - 1 / 8
    assert alignment(collapsed, labels) == pytest.approx(0, abs=1e-6)
    assert uniformity(collapsed) == pytest.approx(0, abs=1e-6)
    assert alignment(orthogonal, labels) == pytest.approx(2)
    assert uniformity(orthogonal) == pytest.approx(-4)
    assert uniformity(simplex) == pytest.approx(-4 * 8 / 7)
    assert uniformity(torch.tensor([[1.0], [-1.0]])) == pytest.approx(-8)
    for seed in range(5):
        z = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed))
        assert uniformity(simplex) < uniformity(z) < 0


@pytest.mark.parametrize("chunk", [1, 4, 36, 37, 50])
def test_chunks_change_nothing(chunk: int) -> None:
    z, labels = random_batch()
    assert uniformity(z, chunk=chunk) == pytest.approx(uniformity(z), rel=1e-12)
    assert alignment(z, labels, 1, chunk=chunk) == pytest.approx(alignment(z, labels, 1), rel=1e-12)


def test_a_large_t_does_not_underflow() -> None:
    assert uniformity(torch.eye(8), t=200) == pytest.approx(-400)


def test_without_pairs_there_is_no_value() -> None:
    assert math.isnan(alignment(torch.eye(3), torch.arange(3)))
    assert math.isnan(uniformity(torch.ones(1, 3)))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"embeddings must be \[N, D\], not \[4\]"):
        uniformity(torch.zeros(4))
    with pytest.raises(ValueError, match=r"labels must be \[4\].*not \[3\]"):
        alignment(torch.zeros(4, 2), torch.zeros(3))
