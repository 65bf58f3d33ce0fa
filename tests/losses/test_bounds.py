"""A loss lies at or above its floor, reaches it, and is at its collapse value when all embeddings are equal."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive_bounds
from tests.losses.reference import FORMS, by_loops
from tests.rounding import FLOAT64, of_contrast

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
@pytest.mark.parametrize("normalize", [True, False])
def test_no_loss_is_below_its_floor_and_equal_embeddings_are_at_collapse(
    form: str, epsilon: float, hardness: float, temperature: float, keys: int, normalize: bool
) -> None:
    options: dict[str, Any] = {"form": form, "temperature": temperature, "epsilon": epsilon, "hardness": hardness}
    options["normalize"] = normalize
    for seed in range(2):
        generator = torch.Generator().manual_seed(seed)
        labels = torch.randint(4, (11,), generator=generator)
        memory_labels = torch.randint(5, (keys,), generator=generator)
        z = torch.randn(11 + keys, 2, generator=generator, dtype=torch.float64)
        floor, collapse = contrastive_bounds(labels, memory_labels=memory_labels, **options)
        loss = by_loops(z[:11], labels, memory=z[11:], memory_labels=memory_labels, **options)
        assert loss >= floor - 1e-9
        for length in (1.0, 20.0) if normalize else (0.0, 1e-3, 1.0, 20.0):
            equal = length * torch.ones_like(z)
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
@pytest.mark.parametrize("keys", [0, 10])
def test_without_normalisation_classes_far_out_come_as_near_to_the_floor_as_one_likes(
    form: str, epsilon: float, hardness: float, keys: int
) -> None:
    """Five classes in five directions of a plane; the floor itself is reached by no length."""
    options: dict[str, Any] = {"form": form, "epsilon": epsilon, "hardness": hardness, "normalize": False}
    labels = torch.arange(10 + keys) % 5
    angles = 2 * math.pi / 5 * labels.double()
    directions = torch.stack([angles.cos(), angles.sin()], dim=1)
    options |= {"temperature": 1.0, "memory_labels": labels[10:]}
    floor, collapse = contrastive_bounds(labels[:10], **options)
    excesses = []
    for length in (0.0, 2.0, 4.0, 8.0):
        z = length * directions
        loss = by_loops(z[:10], labels[:10], memory=z[10:], **options)
        excesses.append(loss.item() - floor)
    assert excesses[0] == pytest.approx(collapse - floor)
    assert excesses[0] > excesses[1] > excesses[2] > 0
    # negatives are 64 (1 - cos 72 degrees) = 44 or more below the positives: e^-44 is nothing beside rounding
    assert excesses[3] == pytest.approx(0, abs=of_contrast(1.0, hardness, FLOAT64, length=8))


def test_without_normalisation_the_floor_is_what_the_positives_alone_come_to() -> None:
    labels = torch.tensor([0, 0, 0, 1, 1, 2])  # three anchors with 2 positives, two with 1
    of_positives = (3 * math.log(2) + 2 * math.log(1)) / 5
    floors = {"out": of_positives, "in": of_positives, "eps_supcon": of_positives, "sincere": 0, "balanced": 0}
    for form, floor in {**floors, "eps_infonce": 0}.items():
        options: dict[str, Any] = {"form": form, "normalize": False}
        assert contrastive_bounds(labels, 0.1, **options)[0] == pytest.approx(floor)
        assert contrastive_bounds(labels, 0.1, **options)[1] == contrastive_bounds(labels, 0.1, form=form)[1]  # type: ignore[arg-type]
        if form.startswith("eps"):
            assert contrastive_bounds(labels, 0.1, epsilon=0.7, **options)[0] == pytest.approx(floor - 0.7)


@pytest.mark.parametrize("form", FORMS)
def test_without_negatives_floor_and_collapse_are_one_whether_normalised_or_not(form: str) -> None:
    for normalize in (True, False):
        options: dict[str, Any] = {"form": form, "normalize": normalize}
        floor, collapse = contrastive_bounds(torch.zeros(5, dtype=torch.long), 0.1, **options)
        assert floor == collapse == pytest.approx(0 if form in ("sincere", "eps_infonce", "balanced") else math.log(4))


@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize(("form", "epsilon", "hardness"), CASES)
def test_no_similarities_take_an_anchor_below_its_floor(
    form: str, epsilon: float, hardness: float, normalize: bool
) -> None:
    """Minimised over the similarities themselves, free of geometry, from many starts: the floor is met, not passed."""
    labels = torch.tensor([0, 0, 0, 1, 1, 2])  # of A(i); the anchor has label 0
    reach = 1 / 0.8 if normalize else 10.0  # of s; e^-20 is nothing beside the 1e-2 below
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
    options: dict[str, Any] = {"form": form, "epsilon": epsilon, "hardness": hardness, "normalize": normalize}
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
