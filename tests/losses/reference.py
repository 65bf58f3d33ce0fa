"""The definitions, written as loops over anchors and positives in float64: slow, and easy to compare with a paper."""

import math

import torch
from torch import Tensor

FORMS = ("out", "in", "sincere", "eps_infonce", "eps_supcon", "balanced")


def by_loops(
    embeddings: Tensor,
    labels: Tensor,
    form: str = "out",
    temperature: float = 0.1,
    epsilon: float = 0.0,
    hardness: float = 0.0,
    memory: Tensor | None = None,
    memory_labels: Tensor | None = None,
) -> Tensor:
    """Return the loss of the definition."""
    z = torch.nn.functional.normalize(embeddings.double(), dim=1)
    columns, names = z, labels.tolist()
    if memory is not None and memory_labels is not None:
        columns = torch.cat([z, torch.nn.functional.normalize(memory.double(), dim=1)])
        names = names + memory_labels.tolist()
    losses = []
    for i, anchor in enumerate(z):
        others = [a for a in range(len(columns)) if a != i]
        s = {a: anchor @ columns[a] / temperature for a in others}
        positives = [a for a in others if names[a] == names[i]]
        negatives = [a for a in others if names[a] != names[i]]
        if positives:
            losses.append(_anchor(s, positives, negatives, names, form, epsilon, hardness))
    return torch.stack(losses).mean() if losses else z.sum() * 0


def _anchor(
    s: dict[int, Tensor],
    positives: list[int],
    negatives: list[int],
    names: list[int],
    form: str,
    epsilon: float,
    hardness: float,
) -> Tensor:
    total = _weighted_negatives(s, negatives, hardness)
    own = [s[p] for p in positives]
    if form == "out":
        return -torch.stack([x - _log([_sum(own), total]) for x in own]).mean()
    if form == "in":
        return -(_sum(own).log() - math.log(len(own)) - _log([_sum(own), total]))
    if form == "sincere":
        return -torch.stack([x - _log([x.exp(), total]) for x in own]).mean()
    if form == "eps_infonce":
        return -torch.stack([x - _log([(x - epsilon).exp(), total]) for x in own]).mean()
    if form == "eps_supcon":
        return -torch.stack([x - _log([_sum([q - epsilon for q in own]), total]) for x in own]).mean()
    classes = {names[a] for a in s}
    means = [torch.stack([s[a].exp() for a in s if names[a] == c]).mean() for c in classes]
    return -torch.stack([x - _log(means) for x in own]).mean()


def _weighted_negatives(s: dict[int, Tensor], negatives: list[int], hardness: float) -> Tensor:
    if not negatives:
        return torch.zeros((), dtype=torch.float64)
    values = torch.stack([s[n] for n in negatives])
    weights = len(negatives) * torch.softmax(hardness * values, 0)
    return (weights * values.exp()).sum()


def _sum(values: list[Tensor]) -> Tensor:
    return torch.stack([value.exp() for value in values]).sum()


def _log(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum().log()
