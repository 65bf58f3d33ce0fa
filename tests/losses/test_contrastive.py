"""The losses against their definitions."""

import math

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive_loss
from tests.losses.reference import FORMS, by_loops
from tests.losses.variants import Options, batch, each_variant, each_variant_of_any_length, memory_of, rounding_of
from tests.rounding import distance


@each_variant
@pytest.mark.parametrize("temperature", [0.01, 0.05, 0.1, 1.0])
@pytest.mark.parametrize("remembers", [False, True], ids=["batch", "memory"])
def test_value_and_gradient_are_those_of_the_definition(variant: Options, temperature: float, remembers: bool) -> None:
    z, labels = batch(0)
    options = {**variant, "temperature": temperature, **(memory_of(0) if remembers else {})}
    compare(z, labels, options)


@each_variant
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
def test_so_they_are_once_the_classes_lie_apart(variant: Options, temperature: float) -> None:
    """Here a loss is nearly 0, and its terms cancel."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(30) % 5
    centres = 2 * torch.randn(5, 32, generator=generator, dtype=torch.float64)
    z = torch.randn(30, 32, generator=generator, dtype=torch.float64) + centres[labels]
    compare(z.requires_grad_(), labels, {**variant, "temperature": temperature})


def compare(z: Tensor, labels: Tensor, options: Options) -> None:
    """Assert that value and gradient are the definition's: in float64, and in float32 as near as it comes."""
    expected = by_loops(z, labels, **options)
    (wanted,) = torch.autograd.grad(expected, z)
    loss = contrastive_loss(z, labels, **options)
    (gradient,) = torch.autograd.grad(loss, z)
    assert loss.dtype == torch.float64
    # rounding comes to 1e-12 at most; of a loss near 0 it is the loops that cancel
    torch.testing.assert_close(loss, expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(gradient, wanted, rtol=1e-9, atol=1e-12)
    single = z.detach().float().requires_grad_()
    loss = contrastive_loss(single, labels, **options)
    (gradient,) = torch.autograd.grad(loss, single)
    assert loss.item() == pytest.approx(expected.item(), rel=rounding_of(options))
    assert distance(gradient, wanted) <= rounding_of(options)


@each_variant
def test_gradcheck_passes(variant: Options) -> None:
    z, labels = batch(3, items=8)
    assert torch.autograd.gradcheck(lambda x: contrastive_loss(x, labels, **variant), z)


@each_variant
def test_order_and_scale_of_the_batch_change_nothing(variant: Options) -> None:
    z, labels = batch(5)
    order = torch.randperm(len(z))
    loss = contrastive_loss(z, labels, **variant)
    torch.testing.assert_close(contrastive_loss(z[order], labels[order], **variant), loss)
    torch.testing.assert_close(contrastive_loss(7.5 * z, labels, **variant), loss)
    torch.testing.assert_close(contrastive_loss(z, labels * 1000 + 7, **variant), loss)


def test_the_forms_meet_where_their_options_vanish() -> None:
    z, labels = batch(6)
    same = [
        ({"form": "eps_supcon", "epsilon": 0.0}, {"form": "out"}),
        ({"form": "eps_infonce", "epsilon": 0.0}, {"form": "sincere"}),
        *(({"form": form, "hardness": 1e-12}, {"form": form}) for form in FORMS if form != "balanced"),
        *(({"form": form, "epsilon": 1e-12}, {"form": form}) for form in ("eps_infonce", "eps_supcon")),
    ]
    for left, right in same:
        torch.testing.assert_close(contrastive_loss(z, labels, **left), contrastive_loss(z, labels, **right))  # type: ignore[arg-type]


def test_equal_embeddings_give_the_collapse_value_and_in_is_never_above_out() -> None:
    z, labels = batch(6, items=16, classes=3)
    same = torch.ones(16, 4, dtype=torch.float64)
    for form in ("out", "in"):
        assert contrastive_loss(same, labels, form=form).item() == pytest.approx(math.log(15))
    assert contrastive_loss(z, labels, form="in") < contrastive_loss(z, labels, form="out")


def test_no_gradient_reaches_the_memory() -> None:
    z, labels = batch(8)
    keys = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    contrastive_loss(z, labels, memory=keys, memory_labels=torch.arange(5)).backward()
    assert keys.grad is None


def test_scaling_by_the_temperature_multiplies_the_loss() -> None:
    z, labels = batch(9)
    plain = contrastive_loss(z, labels, temperature=0.3)
    torch.testing.assert_close(contrastive_loss(z, labels, temperature=0.3, scale_by_temperature=True), 0.3 * plain)


@each_variant_of_any_length
@pytest.mark.parametrize("remembers", [False, True], ids=["batch", "memory"])
def test_the_sum_is_the_mean_times_the_number_of_anchors_with_positives(variant: Options, remembers: bool) -> None:
    z, _ = batch(10)
    labels = torch.tensor([0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7, 8, 9])  # 7 of 14 have positives in the batch
    memory: Options = {"memory": torch.randn(2, 6).double(), "memory_labels": torch.tensor([3, 4])} if remembers else {}
    total = contrastive_loss(z, labels, reduction="sum", **variant, **memory)
    mean = contrastive_loss(z, labels, **variant, **memory)
    torch.testing.assert_close(total, mean * (9 if remembers else 7))
    torch.testing.assert_close(total, by_loops(z, labels, reduction="sum", **variant, **memory))
    slopes = [torch.autograd.grad(loss, z)[0] for loss in (total, mean)]
    torch.testing.assert_close(slopes[0], slopes[1] * (9 if remembers else 7))
