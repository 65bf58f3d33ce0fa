"""A loss lies at or above its floor, reaches it, and is at its collapse value when all embeddings are equal."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive_bounds
from tests.losses.reference import FORMS, by_loops

CASES = [
    (form, epsilon, hardness)
    for form, epsilon, hardness in itertools.product(FORMS, (0.0, 0.7), (0.0, 1.0, 5.0))
    if (epsilon == 0 or form.startswith("eps")) and (hardness == 0 or form != "balanced")
]


def anchor_loss(s: Tensor, same: Tensor, labels: Tensor, form: str, epsilon: float, hardness: float) -> Tensor:
    """The definitions of one anchor's loss: similarities [A], whether each is a positive [A], labels [A]."""
    positive, negative = s[same], s[~same]
    repulsion = torch.zeros((), dtype=s.dtype)
    if len(negative):
        weights = len(negative) * torch.softmax(hardness * negative, 0)
        repulsion = (weights * negative.exp()).sum()
    if form == "in":
        return -(positive.exp().mean() / (positive.exp().sum() + repulsion)).log()
    if form == "balanced":
        denominator = torch.stack([s[labels == label].exp().mean() for label in labels.unique()]).sum()
    elif form in ("sincere", "eps_infonce"):
        denominator = (positive - epsilon).exp() + repulsion
    else:
        denominator = (positive - epsilon).exp().sum() + repulsion
    return -(positive - denominator.log()).mean()


@pytest.mark.parametrize(("form", "epsilon", "hardness"), CASES)
@pytest.mark.parametrize("temperature", [0.1, 10.0])
@pytest.mark.parametrize("keys", [0, 5])
def test_no_loss_is_below_its_floor_and_equal_embeddings_are_at_collapse(
    form: str, epsilon: float, hardness: float, temperature: float, keys: int
) -> None:
    options: dict[str, Any] = {"form": form, "temperature": temperature, "epsilon": epsilon, "hardness": hardness}
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(4, (11,), generator=generator)
        memory_labels = torch.randint(5, (keys,), generator=generator)
        z = torch.randn(11 + keys, 2, generator=generator, dtype=torch.float64)
        floor, collapse = contrastive_bounds(labels, memory_labels=memory_labels, **options)
        loss = by_loops(z[:11], labels, memory=z[11:], memory_labels=memory_labels, **options)
        assert loss >= floor - 1e-9
        equal = torch.ones_like(z)
        loss = by_loops(equal[:11], labels, memory=equal[11:], memory_labels=memory_labels, **options)
        assert loss.item() == pytest.approx(collapse, abs=1e-9)
        assert floor <= collapse


@pytest.mark.parametrize(("form", "epsilon", "hardness"), CASES)
@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_two_antipodal_classes_reach_the_floor(form: str, epsilon: float, hardness: float, temperature: float) -> None:
    options: dict[str, Any] = {"form": form, "temperature": temperature, "epsilon": epsilon, "hardness": hardness}
    z = torch.tensor([[1.0], [1], [1], [-1], [-1]], dtype=torch.float64)
    labels = torch.tensor([0, 0, 0, 1, 1])
    loss = by_loops(z, labels, **options)
    assert loss.item() == pytest.approx(contrastive_bounds(labels, **options)[0], abs=1e-9)


@pytest.mark.parametrize(("form", "epsilon", "hardness"), CASES)
def test_no_similarities_take_an_anchor_below_its_floor(form: str, epsilon: float, hardness: float) -> None:
    """Minimised over the similarities themselves, free of geometry, from many starts: the floor is met, not passed."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2])  # of A(i); the anchor has label 0
    reach = 1 / 0.8
    torch.manual_seed(0)
    best = math.inf
    for _ in range(2):
        free = torch.randn(len(labels), dtype=torch.float64).requires_grad_()
        optimizer = torch.optim.Adam([free], lr=0.2)
        for _ in range(150):
            optimizer.zero_grad()
            loss = anchor_loss(reach * free.tanh(), labels == 0, labels, form, epsilon, hardness)
            loss.backward()
            optimizer.step()
        best = min(best, loss.item())
    # four items of class 0 are four such anchors; anchors of other classes have no positives here
    batch = torch.tensor([0, 0, 0, 0])
    options: dict[str, Any] = {"form": form, "epsilon": epsilon, "hardness": hardness}
    floor, _ = contrastive_bounds(batch, 0.8, memory_labels=torch.tensor([1, 1, 2]), **options)
    assert floor - 1e-9 <= best <= floor + 1e-2


def test_a_large_epsilon_and_a_small_temperature_stay_finite() -> None:
    labels = torch.tensor([0, 0, 1, 1])
    assert contrastive_bounds(labels, 0.001, form="eps_infonce", epsilon=800.0)[0] == pytest.approx(-800)
    assert contrastive_bounds(torch.zeros(3, dtype=torch.long), 0.001) == pytest.approx((math.log(2), math.log(2)))


def test_without_positives_both_are_zero_and_memory_can_give_them() -> None:
    labels = torch.tensor([0, 1, 2])
    assert contrastive_bounds(labels, 0.1) == (0.0, 0.0)
    assert contrastive_bounds(labels, 0.1, memory_labels=torch.tensor([2, 5]))[1] == pytest.approx(math.log(4))
