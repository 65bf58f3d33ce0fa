"""Without `normalize`, embeddings, memory and prototypes enter as they are, however long."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive_loss
from tests.losses.reference import by_loops
from tests.losses.variants import Options, batch, each_variant, each_variant_as_it_is, memory_of, rounding_of
from tests.rounding import FLOAT32, FLOAT64, distance, of_sums


@each_variant_as_it_is
@pytest.mark.parametrize("largest", [1.0, 100.0, 5000.0])  # s: exp(5000) is too much for any float
@pytest.mark.parametrize("temperature", [0.1, 20.0])
@pytest.mark.parametrize("remembers", [False, True], ids=["batch", "memory"])
def test_value_and_gradient_are_those_of_the_definition_at_any_length(
    variant: Options, largest: float, temperature: float, remembers: bool
) -> None:
    z, labels = batch(0)
    memory = memory_of(0) if remembers else {}
    factor = math.sqrt(largest * temperature) / longest(z, memory)
    if remembers:
        memory["memory"] = memory["memory"] * factor
    compare(z.detach() * factor, labels, {**variant, "temperature": temperature, **memory})


@each_variant_as_it_is
def test_so_they_are_where_one_item_is_a_thousand_times_longer_than_another(variant: Options) -> None:
    z, labels = batch(1)
    lengths = torch.logspace(-1.5, 1.5, len(z), dtype=torch.float64)[torch.randperm(len(z))]
    compare(z.detach() * lengths[:, None], labels, {**variant, "temperature": 1.0})


def longest(z: Tensor, options: Options) -> float:
    return float(torch.cat([z.detach(), options.get("memory", z[:0].detach())]).norm(dim=1).max())


def compare(z: Tensor, labels: Tensor, options: Options) -> None:
    """Assert that value and gradient are the definition's in both precisions, as near as rounding lets them be."""
    z.requires_grad_()
    expected = by_loops(z, labels, **options)
    (wanted,) = torch.autograd.grad(expected, z)
    for dtype, unit in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
        ours = z.detach().to(dtype).requires_grad_()
        loss = contrastive_loss(ours, labels, **options)
        (gradient,) = torch.autograd.grad(loss, ours)
        error = rounding_of(options, unit + FLOAT64, longest(z, options))  # the loops are in float64
        assert loss.dtype == dtype
        assert loss.item() == pytest.approx(expected.item(), rel=of_sums(len(z), unit), abs=error)
        assert distance(gradient, wanted) <= error


@each_variant_as_it_is
def test_gradcheck_passes_for_embeddings_as_they_are(variant: Options) -> None:
    z, labels = batch(3, items=8)
    assert torch.autograd.gradcheck(lambda x: contrastive_loss(x, labels, temperature=2.0, **variant), z)


@each_variant
def test_embeddings_of_unit_length_need_no_normalisation(variant: Options) -> None:
    z, labels = batch(4)
    unit, memory = torch.nn.functional.normalize(z, dim=1), memory_of(4)
    memory["memory"] = torch.nn.functional.normalize(memory["memory"], dim=1)
    plain = contrastive_loss(z, labels, **variant, **memory)
    torch.testing.assert_close(contrastive_loss(unit, labels, normalize=False, **variant, **memory), plain)


@each_variant_as_it_is
def test_twice_the_length_is_a_quarter_of_the_temperature(variant: Options) -> None:
    z, labels = batch(5)
    longer = contrastive_loss(2 * z, labels, temperature=4.0, **variant)
    torch.testing.assert_close(longer, contrastive_loss(z, labels, temperature=1.0, **variant))


@each_variant_as_it_is
def test_items_of_length_zero_are_alike_to_all_and_learn(variant: Options) -> None:
    z, labels = torch.randn(6, 4, dtype=torch.float64), torch.tensor([0, 0, 0, 1, 1, 1])
    z[0] = 0
    compare(z, labels, variant)
    contrastive_loss(z, labels, **variant).backward()
    assert z.grad is not None
    assert z.grad[0].norm() > 0


def test_the_default_is_unit_length() -> None:
    z, labels = batch(6)
    options: dict[str, Any] = {"form": "in", "temperature": 0.3}
    assert torch.equal(contrastive_loss(z, labels, **options), contrastive_loss(z, labels, normalize=True, **options))
    assert not torch.isclose(
        contrastive_loss(z, labels, **options), contrastive_loss(z, labels, normalize=False, **options)
    )
