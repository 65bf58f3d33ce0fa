"""Balanced contrast with prototypes."""

import copy
import math

import pytest
import torch

from supcon.losses import BalancedContrast
from tests.rounding import distance, of_contrast, of_sums


def by_loops(module: BalancedContrast, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    z, centres = (
        torch.nn.functional.normalize(rows, dim=1) if module.normalize else rows
        for rows in (embeddings, module.prototypes)
    )
    losses = []
    for i, anchor in enumerate(z):
        own, means = z[:0], []
        for c in range(len(centres)):
            members = [z[k] for k in range(len(z)) if k != i and labels[k] == c] + [centres[c]]
            s = torch.stack([anchor @ member / module.temperature for member in members])
            means.append(s.logsumexp(0) - math.log(len(s)))
            own = s if c == labels[i] else own
        losses.append(-(own - torch.stack(means).logsumexp(0)).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("temperature", [0.05, 0.5])
@pytest.mark.parametrize("normalize", [True, False])
def test_value_and_gradients_are_those_of_the_definition(temperature: float, normalize: bool) -> None:
    module = BalancedContrast(5, 4, temperature, normalize=normalize).double()
    with torch.no_grad():
        module.prototypes.mul_(1.5)
    z = torch.randn(9, 4, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, 0, 1, 1, 1, 1, 3, 3, 4])
    expected, loss = by_loops(module, z, labels), module(z, labels)
    torch.testing.assert_close(loss, expected)
    for wanted, gradient in zip(
        torch.autograd.grad(expected, [z, module.prototypes]),
        torch.autograd.grad(loss, [z, module.prototypes]),
        strict=True,
    ):
        torch.testing.assert_close(gradient, wanted)


def test_the_sum_is_the_mean_times_the_number_of_items_since_each_has_a_positive() -> None:
    module, z, labels = BalancedContrast(classes=5, dim=4), torch.randn(9, 4), torch.arange(9) % 4
    torch.testing.assert_close(module(z, labels, reduction="sum"), 9 * module(z, labels))


def test_long_embeddings_and_prototypes_that_enter_as_they_are_overflow_nothing() -> None:
    module = BalancedContrast(classes=5, dim=6, temperature=1.0, normalize=False)
    with torch.no_grad():
        module.prototypes.mul_(70)
    z = (70 * torch.nn.functional.normalize(torch.randn(12, 6), dim=1)).requires_grad_()  # s up to 4900
    labels = torch.arange(12) % 5
    loss, error = module(z, labels), of_contrast(temperature=1.0, length=70)
    gradients = torch.autograd.grad(loss, [z, module.prototypes])
    exact, wide = copy.deepcopy(module).double(), z.detach().double().requires_grad_()
    expected = by_loops(exact, wide, labels)
    assert loss.item() == pytest.approx(expected.item(), rel=of_sums(12), abs=error)
    for found, wanted in zip(gradients, torch.autograd.grad(expected, [wide, exact.prototypes]), strict=True):
        assert distance(found, wanted) <= error


def test_a_lone_item_has_its_prototype_for_a_positive() -> None:
    module = BalancedContrast(classes=2, dim=3)
    loss = module(torch.randn(1, 3, requires_grad=True), torch.tensor([1]))
    assert loss.item() > 0


def test_equal_embeddings_give_the_logarithm_of_the_number_of_classes() -> None:
    module = BalancedContrast(classes=6, dim=2).double()
    with torch.no_grad():
        module.prototypes.fill_(1)
    loss = module(torch.ones(10, 2, dtype=torch.float64), torch.arange(10) % 3)
    assert loss.item() == pytest.approx(math.log(6))


def test_labels_beyond_the_prototypes_are_refused() -> None:
    with pytest.raises(ValueError, match="the prototypes are 3 classes x 4"):
        BalancedContrast(3, 4)(torch.randn(2, 4), torch.tensor([0, 3]))
    with pytest.raises(ValueError, match="the prototypes are 3 classes x 4"):
        BalancedContrast(3, 4)(torch.randn(2, 5), torch.tensor([0, 1]))


def test_autocast_does_not_lower_the_precision() -> None:
    module, z, labels = BalancedContrast(classes=5, dim=16, temperature=0.05), torch.randn(64, 16), torch.arange(64) % 5
    plain = module(z, labels)
    with torch.autocast("cpu", torch.bfloat16):
        torch.testing.assert_close(module(z, labels), plain)
