"""Alignment, uniformity, distances, rank and isotropy, against values by hand and the definitions."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from supcon.metrics.embeddings import alignment, distance_ratio, effective_rank, isotropy, uniformity


def random_batch(items: int = 37, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(items, 6, generator=generator, dtype=torch.float64)
    return z, torch.randint(classes, (items,), generator=generator)


def test_a_value_by_hand() -> None:
    # 0, 90 and 180 degrees in class 3; an item alone in its class
    z = torch.tensor([[2.0, 0.0], [0.0, 1.0], [-5.0, 0.0], [0.0, -1.0]], dtype=torch.float64)
    labels = torch.tensor([3, 3, 3, 7])
    assert alignment(z, labels) == pytest.approx(((2 + 4) / 2 + (2 + 2) / 2 + (4 + 2) / 2) / 3)
    assert uniformity(z, t=1) == pytest.approx(math.log((4 * math.exp(-2) + 2 * math.exp(-4)) / 6))


def test_every_item_with_positives_counts_once_whatever_the_size_of_its_class() -> None:
    z = torch.tensor([[1.0, 0.0]] * 6 + [[0.0, 1.0], [0.0, -1.0]])
    labels = torch.tensor([0] * 6 + [1, 1])
    assert alignment(z, labels) == pytest.approx((6 * 0 + 2 * 4) / 8)  # by pairs it would be 4 / 16


def test_alignment_is_that_of_the_definition() -> None:
    z, labels = random_batch()
    unit = torch.nn.functional.normalize(z, dim=1)
    means = []
    for i in range(len(z)):
        others = [p for p in range(len(z)) if p != i and labels[p] == labels[i]]
        means += [sum(float((unit[i] - unit[p]).norm()) ** 2 for p in others) / len(others)] if others else []
    assert alignment(z, labels) == pytest.approx(sum(means) / len(means))


def test_uniformity_is_that_of_the_definition() -> None:
    z, _ = random_batch()
    unit = torch.nn.functional.normalize(z, dim=1)
    pairs = [math.exp(-2 * float((a - b).square().sum())) for a, b in itertools.combinations(unit, 2)]
    assert uniformity(z) == pytest.approx(math.log(sum(pairs) / len(pairs)))


def test_the_optima_and_the_collapse_are_known() -> None:
    labels = torch.arange(8) % 2
    collapsed, orthogonal = torch.ones(8, 4, dtype=torch.float64), torch.eye(8, dtype=torch.float64)
    simplex = orthogonal - 1 / 8
    assert alignment(collapsed, labels) == pytest.approx(0, abs=1e-6)
    assert uniformity(collapsed) == pytest.approx(0, abs=1e-6)
    assert alignment(orthogonal, labels) == pytest.approx(2)
    assert uniformity(orthogonal) == pytest.approx(-4)
    assert uniformity(simplex) == pytest.approx(-4 * 8 / 7)
    assert uniformity(torch.tensor([[1.0], [-1.0]], dtype=torch.float64)) == pytest.approx(-8)
    for seed in range(5):
        z = torch.randn(8, 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        assert uniformity(simplex) < uniformity(z) < 0


@pytest.mark.parametrize("chunk", [1, 4, 36, 37, 50])
def test_chunks_change_nothing(chunk: int) -> None:
    z, _ = random_batch()
    assert uniformity(z, chunk=chunk) == pytest.approx(uniformity(z), rel=1e-12)


def test_a_large_t_does_not_underflow() -> None:
    assert uniformity(torch.eye(8, dtype=torch.float64), t=200) == pytest.approx(-400)


def test_without_pairs_there_is_no_value() -> None:
    assert math.isnan(alignment(torch.eye(3), torch.arange(3)))
    assert math.isnan(uniformity(torch.ones(1, 3)))


def test_the_distance_ratio_by_hand_and_by_the_definition() -> None:
    # two classes on opposite sides: within 0 and 90 degrees, between 180 and 90
    z = torch.tensor([[1.0, 0.0], [0.0, 3.0], [-1.0, 0.0], [-2.0, 0.0]])
    labels = torch.tensor([0, 0, 1, 1])
    within, between = (2 + 2 + 0 + 0) / 4, (4 + 2 + 3 + 3) / 4
    assert distance_ratio(z, labels) == pytest.approx(math.sqrt(within / between))

    z, labels = random_batch()
    unit = torch.nn.functional.normalize(z, dim=1)
    squared = torch.cdist(unit, unit).square()
    same = labels[:, None] == labels
    rows = range(len(z))
    own = [squared[i][same[i] & (torch.arange(len(z)) != i)].mean() for i in rows if same[i].sum() > 1]
    other = [squared[i][~same[i]].mean() for i in rows]
    expected = (torch.stack(own).mean() / torch.stack(other).mean()).sqrt()
    assert distance_ratio(z, labels) == pytest.approx(float(expected))


def test_the_distance_ratio_is_0_for_points_and_1_for_labels_that_mean_nothing() -> None:
    labels = torch.arange(3000) % 3
    assert distance_ratio(torch.eye(3)[labels], labels) == pytest.approx(0, abs=1e-6)
    z = torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))
    assert distance_ratio(z, labels) == pytest.approx(1, abs=0.005)
    assert math.isnan(distance_ratio(torch.eye(3), torch.zeros(3)))
    assert math.isnan(distance_ratio(torch.eye(3), torch.arange(3)))


@pytest.mark.parametrize("shape", [(50, 8), (8, 50)])
def test_the_effective_rank_is_that_of_the_singular_values(shape: tuple[int, int]) -> None:
    z = torch.randn(shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    values = torch.linalg.svdvals(torch.nn.functional.normalize(z, dim=1))
    shares = (values / values.sum()).tolist()
    assert effective_rank(z) == pytest.approx(math.exp(-sum(share * math.log(share) for share in shares)))
    assert 1 < effective_rank(z) < 8


def test_the_effective_rank_counts_directions() -> None:
    assert effective_rank(torch.eye(5).repeat(3, 1)) == pytest.approx(5)
    assert effective_rank(torch.ones(20, 6)) == pytest.approx(1)
    low = torch.randn(200, 3, generator=torch.Generator().manual_seed(1)) @ torch.eye(3, 64)
    assert effective_rank(low) == pytest.approx(3, abs=0.05)


def iso_score(points: Tensor) -> float:
    """IsoScore by the steps of its paper: PCA, normalised variances, distance to all ones, share of dimensions."""
    n = points.shape[1]
    variances = torch.linalg.eigvalsh(torch.cov(points.T))
    normalised = math.sqrt(n) * variances / variances.norm()
    defect = float((normalised - 1).norm()) / math.sqrt(2 * (n - math.sqrt(n)))
    dimensions = (n - defect**2 * (n - math.sqrt(n))) ** 2 / n**2
    return (n * dimensions - 1) / (n - 1)


@pytest.mark.parametrize("shape", [(60, 7), (5, 40)])
def test_isotropy_is_iso_score_step_by_step(shape: tuple[int, int]) -> None:
    z = torch.randn(shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64) * torch.arange(
        1, shape[1] + 1
    )
    assert isotropy(z) == pytest.approx(iso_score(torch.nn.functional.normalize(z, dim=1)))


def test_isotropy_is_0_on_a_line_and_1_where_all_directions_are_alike() -> None:
    assert isotropy(torch.cat([torch.eye(6), -torch.eye(6)])) == pytest.approx(1)
    assert isotropy(torch.tensor([[1.0, 0.1, 0.0], [1.0, -0.1, 0.0]])) == pytest.approx(0, abs=1e-9)
    half = torch.randn(4000, 10, generator=torch.Generator().manual_seed(3)) @ torch.eye(10, 20)
    assert isotropy(half) == pytest.approx(9 / 19, abs=0.01)  # 10 of 20 dimensions
    assert math.isnan(isotropy(torch.ones(4, 1)))
    assert math.isnan(isotropy(torch.ones(4, 3)))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"embeddings must be \[N, D\], not \[4\]"):
        uniformity(torch.zeros(4))
    with pytest.raises(ValueError, match=r"labels must be \[4\].*not \[3\]"):
        alignment(torch.zeros(4, 2), torch.zeros(3))
