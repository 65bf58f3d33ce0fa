"""The losses against their definitions."""

import math

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive_loss
from tests.losses.reference import FORMS, by_loops
from tests.losses.variants import Options, batch, each_variant, memory_of, rounding_of
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


def test_in_is_the_logarithm_of_a_ratio_of_sums_plus_that_of_the_positives() -> None:
    z, labels = batch(7)
    unit = torch.nn.functional.normalize(z, dim=1)
    exponentials = (unit @ unit.T / 0.1).exp().fill_diagonal_(0)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    valid = same.any(dim=1)
    ratio = (exponentials.sum(dim=1) / (exponentials * same).sum(dim=1))[valid].log()
    expected = ratio.mean() + same.sum(dim=1)[valid].double().log().mean()
    torch.testing.assert_close(contrastive_loss(z, labels, form="in"), expected)


def test_equal_embeddings_give_the_collapse_value_and_in_is_never_above_out() -> None:
    z, labels = batch(6, items=16, classes=3)
    same = torch.ones(16, 4, dtype=torch.float64)
    for form in ("out", "in"):
        assert contrastive_loss(same, labels, form=form).item() == pytest.approx(math.log(15))
    assert contrastive_loss(z, labels, form="in") < contrastive_loss(z, labels, form="out")


def test_instance_labels_make_simclr() -> None:
    views = torch.randn(2, 5, 4, dtype=torch.float64)
    z, instances = views.flatten(0, 1), torch.arange(5).repeat(2)
    unit = torch.nn.functional.normalize(z, dim=1)
    logits = (unit @ unit.T / 0.5).fill_diagonal_(-torch.inf)
    other_view = (torch.arange(10) + 5) % 10
    expected = torch.nn.functional.cross_entropy(logits, other_view)  # NT-Xent
    torch.testing.assert_close(contrastive_loss(z, instances, temperature=0.5), expected)


def test_one_positive_and_one_negative_make_the_triplet_limit() -> None:
    z = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    unit = torch.nn.functional.normalize(z, dim=1)
    s = unit @ unit.T / 0.2
    expected = (torch.nn.functional.softplus(s[0, 2] - s[0, 1]) + torch.nn.functional.softplus(s[1, 2] - s[1, 0])) / 2
    torch.testing.assert_close(contrastive_loss(z, labels, temperature=0.2), expected)


def test_no_gradient_reaches_the_memory() -> None:
    z, labels = batch(8)
    keys = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    contrastive_loss(z, labels, memory=keys, memory_labels=torch.arange(5)).backward()
    assert keys.grad is None


def test_scaling_by_the_temperature_multiplies_the_loss() -> None:
    z, labels = batch(9)
    plain = contrastive_loss(z, labels, temperature=0.3)
    torch.testing.assert_close(contrastive_loss(z, labels, temperature=0.3, scale_by_temperature=True), 0.3 * plain)
