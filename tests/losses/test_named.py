"""Losses that have a name of their own, and which form with which options each is."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from supcon.losses import contrastive_loss
from tests.losses.variants import batch


def exponentials_of(z: Tensor, labels: Tensor, temperature: float, normalize: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Return exp s [N, N] with 0 on the diagonal, and which pairs are positive and which negative."""
    rows = F.normalize(z, dim=1) if normalize else z
    same = labels[:, None] == labels
    itself = torch.eye(len(z), dtype=torch.bool)
    return (rows @ rows.T / temperature).masked_fill(itself, -torch.inf).exp(), same & ~itself, ~same


@pytest.mark.parametrize("normalize", [True, False])
def test_the_sum_of_log_ratios_is_in_summed_less_a_constant_and_has_its_gradient(normalize: bool) -> None:
    """It is log(sum_A exp s_ia / sum_P exp s_ip), summed over the anchors with positives: |P| divides nothing."""
    z, labels = batch(7)
    exponentials, positive, _ = exponentials_of(z, labels, 0.5, normalize)
    valid = positive.any(dim=1)
    assert valid.any()
    ratios = exponentials.sum(dim=1) / (exponentials * positive).sum(dim=1)
    expected = ratios[valid].log().sum()
    loss = contrastive_loss(z, labels, form="in", temperature=0.5, normalize=normalize, reduction="sum")
    constant = positive.sum(dim=1)[valid].double().log().sum()
    torch.testing.assert_close(loss - constant, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, z), torch.autograd.grad(expected, z))
    mean = contrastive_loss(z, labels, form="in", temperature=0.5, normalize=normalize)
    torch.testing.assert_close(mean * valid.sum() - constant, expected)


def test_schane_alias_clce_is_in_with_hardness_1_beside_cross_entropy() -> None:
    """Long et al. 2023 (arXiv 2308.14893), 2024 (2402.14551): every negative is weighed by |N| exp s_in / sum_N exp s.

    The whole is (1 - lambda) x cross-entropy + lambda x this; `finetune.contrastive_weight` is lambda / (1 - lambda).
    """
    z, labels = batch(11)
    exponentials, positive, negative = exponentials_of(z, labels, 0.5, normalize=True)
    pushes = exponentials * negative
    weights = negative.sum(dim=1, keepdim=True) * pushes / pushes.sum(dim=1, keepdim=True)
    pulls = (exponentials * positive).sum(dim=1)
    share = pulls / (pulls + (weights * pushes).sum(dim=1)) / positive.sum(dim=1)
    expected = -share[positive.any(dim=1)].log().mean()
    loss = contrastive_loss(z, labels, form="in", hardness=1.0, temperature=0.5)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(torch.autograd.grad(loss, z), torch.autograd.grad(expected, z))


def test_instance_labels_make_simclr() -> None:
    views = torch.randn(2, 5, 4, dtype=torch.float64)
    z, instances = views.flatten(0, 1), torch.arange(5).repeat(2)
    unit = F.normalize(z, dim=1)
    logits = (unit @ unit.T / 0.5).fill_diagonal_(-torch.inf)
    other_view = (torch.arange(10) + 5) % 10
    expected = F.cross_entropy(logits, other_view)  # NT-Xent
    torch.testing.assert_close(contrastive_loss(z, instances, temperature=0.5), expected)


def n_pairs(anchors: Tensor, positives: Tensor) -> Tensor:
    """Sohn 2016: log(1 + sum_{j != i} exp(x_i . y_j - x_i . y_i)) of N pairs (x, y), one of each class."""
    return F.cross_entropy(anchors @ positives.T, torch.arange(len(anchors)))


def test_two_items_a_class_contrast_with_both_items_of_other_classes_so_they_are_not_n_pairs() -> None:
    first, second = torch.randn(2, 5, 4, dtype=torch.float64)
    loss = contrastive_loss(torch.cat([first, second]), torch.arange(5).repeat(2), temperature=1.0, normalize=False)
    expected = []
    for own, others in ((first, second), (second, first)):
        for i in range(5):
            pull = own[i] @ others[i]
            rest = [x[j] for x in (own, others) for j in range(5) if j != i]  # N-pairs has those of `others` alone
            expected.append((1 + torch.stack([(own[i] @ x - pull).exp() for x in rest]).sum()).log())
    torch.testing.assert_close(loss, torch.stack(expected).mean())
    assert loss > (n_pairs(first, second) + n_pairs(second, first)) / 2


def test_where_both_items_of_every_class_are_equal_each_negative_of_n_pairs_counts_twice() -> None:
    z = torch.randn(5, 4, dtype=torch.float64)
    loss = contrastive_loss(z.repeat(2, 1), torch.arange(5).repeat(2), temperature=1.0, normalize=False)
    s = z @ z.T
    twice = (s - s.diagonal()[:, None]).exp().fill_diagonal_(0).sum(dim=1) * 2
    torch.testing.assert_close(loss, twice.log1p().mean())


@pytest.mark.parametrize("normalize", [True, False])
def test_one_positive_and_one_negative_make_the_triplet_limit(normalize: bool) -> None:
    z = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    rows = F.normalize(z, dim=1) if normalize else z
    s = rows @ rows.T / 0.2
    expected = (F.softplus(s[0, 2] - s[0, 1]) + F.softplus(s[1, 2] - s[1, 0])) / 2
    torch.testing.assert_close(contrastive_loss(z, labels, temperature=0.2, normalize=normalize), expected)
