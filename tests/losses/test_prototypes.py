"""Balanced contrast with prototypes."""

import math

import pytest
import torch

from supcon.losses import BalancedContrast


def by_loops(module: BalancedContrast, embeddings: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    z = torch.nn.functional.normalize(embeddings, dim=1)
    centres = torch.nn.functional.normalize(module.prototypes, dim=1)
    losses = []
    for i, anchor in enumerate(z):
        own, means = z[:0], []
        for c in range(len(centres)):
            members = [z[k] for k in range(len(z)) if k != i and labels[k] == c] + [centres[c]]
            s = torch.stack([anchor @ member / module.temperature for member in members])
            means.append(s.exp().mean())
            own = s if c == labels[i] else own
        losses.append(-(own - torch.stack(means).sum().log()).mean())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_value_and_gradients_are_those_of_the_definition(temperature: float) -> None:
    module = BalancedContrast(classes=5, dim=4, temperature=temperature).double()
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
