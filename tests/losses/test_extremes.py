"""Odd batches, small temperatures, and the precision of the losses."""

import math

import pytest
import torch

from supcon.losses import contrastive_loss
from supcon.losses.batch import sort_batch
from supcon.losses.positives import positive_logsumexp
from tests.losses.reference import by_loops
from tests.losses.variants import Options, batch, each_variant, each_variant_of_any_length, rounding_of


@each_variant_of_any_length
@pytest.mark.parametrize("temperature", [0.0112, 0.0105, 0.01, 0.001])  # exp(1 / 0.0112) just leaves float32
def test_extreme_batches_are_finite_and_right_at_a_small_temperature(variant: Options, temperature: float) -> None:
    item = torch.randn(1, 4)
    cases = {
        "duplicates": (item.repeat(6, 1), torch.tensor([0, 0, 0, 1, 1, 1])),
        "all training rows are of one class": (torch.randn(6, 4), torch.zeros(6, dtype=torch.long)),
        "singletons": (torch.randn(6, 4), torch.arange(6)),
        "one item": (item, torch.tensor([3])),
        "antipodal pairs": (torch.cat([item, -item, item, -item]), torch.tensor([0, 0, 1, 1])),
        "none": (item[:0], torch.tensor([], dtype=torch.long)),
    }
    for name, (z, labels) in cases.items():
        length = 1.0 if variant.get("normalize", True) else float(z.norm(dim=1).max()) if len(z) else 0.0
        # of the logits, so of a loss that is near 0, too
        error = rounding_of({**variant, "temperature": temperature}, length=length)
        z = z.clone().requires_grad_()
        loss = contrastive_loss(z, labels, temperature=temperature, **variant)
        loss.backward()
        assert torch.isfinite(loss), name
        assert z.grad is not None
        assert torch.isfinite(z.grad).all(), name
        expected = by_loops(z.detach().double(), labels, temperature=temperature, **variant)
        assert loss.item() == pytest.approx(expected.item(), rel=error, abs=error), name


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_orthogonal_embeddings_of_one_class_give_log_7(temperature: float) -> None:
    labels = torch.zeros(8, dtype=torch.long)
    for form in ("out", "in", "eps_supcon"):
        loss = contrastive_loss(torch.eye(8), labels, form=form, temperature=temperature)
        assert loss.item() == pytest.approx(math.log(7))


@each_variant_of_any_length
def test_without_positives_loss_and_gradient_are_zero(variant: Options) -> None:
    z = torch.randn(5, 3, requires_grad=True)
    loss = contrastive_loss(z, torch.arange(5), **variant)
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None
    assert z.grad.abs().max() == 0


@each_variant_of_any_length
def test_autocast_does_not_lower_the_precision(variant: Options) -> None:
    z, labels = torch.randn(64, 16, requires_grad=True), torch.arange(64) % 8
    plain = contrastive_loss(z, labels, temperature=0.05, **variant)
    (wanted,) = torch.autograd.grad(plain, z)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(z, labels, temperature=0.05, **variant)
        (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(gradient, wanted)


def test_a_memory_keeps_its_precision_beside_half_precision_embeddings() -> None:
    z, labels = torch.randn(8, 4).bfloat16(), torch.arange(8) % 2
    memory: Options = {"memory": torch.randn(6, 4), "memory_labels": torch.arange(6) % 3}
    torch.testing.assert_close(contrastive_loss(z, labels, **memory), contrastive_loss(z.float(), labels, **memory))


def test_half_precision_embeddings_are_widened() -> None:
    z, labels = torch.randn(32, 8), torch.arange(32) % 4
    for dtype in (torch.bfloat16, torch.float16):
        loss = contrastive_loss(z.to(dtype), labels)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, contrastive_loss(z.to(dtype).float(), labels))


@each_variant_of_any_length
@pytest.mark.parametrize("temperature", [0.01, 0.1])  # running sums, direct sums
def test_an_item_or_a_key_that_is_not_a_number_makes_the_loss_none(variant: Options, temperature: float) -> None:
    z, labels = torch.randn(6, 4), torch.tensor([0, 0, 1, 1, 2, 3])
    broken = z.clone()
    broken[5] = math.nan  # has no positive, so it is no anchor
    broken.requires_grad_()
    loss = contrastive_loss(broken, labels, temperature=temperature, **variant)
    assert loss.isnan()
    (gradient,) = torch.autograd.grad(loss, broken)
    assert gradient.isnan().any()
    memory = torch.randn(4, 4)
    memory[2] = math.nan
    keys: Options = {"memory": memory, "memory_labels": torch.tensor([0, 1, 7, 9])}
    assert contrastive_loss(z, labels, temperature=temperature, **variant, **keys).isnan()


@each_variant_of_any_length
def test_second_derivatives_are_refused_where_first_ones_are_right(variant: Options) -> None:
    z, labels = batch(1)
    with torch.enable_grad():
        contrastive_loss(z, labels, **variant).backward()
    assert z.grad is not None
    (gradient,) = torch.autograd.grad(contrastive_loss(z, labels, **variant), z)
    torch.testing.assert_close(gradient, z.grad)
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(contrastive_loss(z, labels, **variant), z, create_graph=True)


def test_sums_over_positives_refuse_second_derivatives_by_themselves() -> None:
    z, labels = batch(1)
    sums = positive_logsumexp(sort_batch(z, labels, z[:0].detach(), labels[:0]), 0.1).sum()
    with pytest.raises(RuntimeError, match="first derivatives only"):
        torch.autograd.grad(sums, z, create_graph=True)


@each_variant
@pytest.mark.parametrize("scale", [1e-25, 1e-14, 1e20, 1e38])
def test_however_long_embeddings_and_keys_are_the_loss_is_the_same(variant: Options, scale: float) -> None:
    z, keys = (torch.randn(6, 4).clamp(-2, 2) for _ in range(2))
    labels = torch.arange(6) % 3
    plain = contrastive_loss(z, labels, memory=keys, memory_labels=labels, **variant)
    scaled = contrastive_loss(z * scale, labels, memory=keys * scale, memory_labels=labels, **variant)
    torch.testing.assert_close(scaled, plain, rtol=rounding_of(variant), atol=0)


@each_variant
def test_a_row_of_zeros_has_gradient_0_and_the_others_an_ordinary_one(variant: Options) -> None:
    z, labels = torch.randn(6, 4), torch.tensor([0, 0, 0, 1, 1, 1])
    z[0] = 0
    z.requires_grad_()
    contrastive_loss(z, labels, **variant).backward()
    assert z.grad is not None
    assert torch.equal(z.grad[0], torch.zeros(4))
    assert (z.grad[1:].norm(dim=1) > 0).all()
    assert z.grad.abs().max() < 1e3
