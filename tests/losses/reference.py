"""The definitions, written as loops over anchors and positives in float64: slow, and easy to compare with a paper.

Sums of exponentials are kept as their logarithms, so that similarities in the thousands overflow nothing.
"""

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
    normalize: bool = True,
    memory: Tensor | None = None,
    memory_labels: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Return the loss of the definition."""
    z = _rows(embeddings, normalize)
    columns, names = z, labels.tolist()
    if memory is not None and memory_labels is not None:
        columns = torch.cat([z, _rows(memory, normalize)])
        names = names + memory_labels.tolist()
    losses = []
    for i, anchor in enumerate(z):
        others = [a for a in range(len(columns)) if a != i]
        s = {a: anchor @ columns[a] / temperature for a in others}
        positives = [a for a in others if names[a] == names[i]]
        negatives = [a for a in others if names[a] != names[i]]
        if positives:
            losses.append(_anchor(s, positives, negatives, names, form, epsilon, hardness))
    if not losses:
        return z.sum() * 0
    return torch.stack(losses).sum() if reduction == "sum" else torch.stack(losses).mean()


def _rows(embeddings: Tensor, normalize: bool) -> Tensor:
    return torch.nn.functional.normalize(embeddings.double(), dim=1) if normalize else embeddings.double()


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
        return -torch.stack([x - _log_sum([*own, *total]) for x in own]).mean()
    if form == "in":
        return -(_log_sum(own) - math.log(len(own)) - _log_sum([*own, *total]))
    if form == "sincere":
        return -torch.stack([x - _log_sum([x, *total]) for x in own]).mean()
    if form == "eps_infonce":
        return -torch.stack([x - _log_sum([x - epsilon, *total]) for x in own]).mean()
    if form == "eps_supcon":
        return -torch.stack([x - _log_sum([*(q - epsilon for q in own), *total]) for x in own]).mean()
    members = [[s[a] for a in s if names[a] == c] for c in {names[a] for a in s}]
    means = [_log_sum(of_class) - math.log(len(of_class)) for of_class in members]
    return -torch.stack([x - _log_sum(means) for x in own]).mean()


def _weighted_negatives(s: dict[int, Tensor], negatives: list[int], hardness: float) -> list[Tensor]:
    """Return log(w_n exp s_n) of every negative n."""
    if not negatives:
        return []
    values = torch.stack([s[n] for n in negatives])
    weights = math.log(len(negatives)) + torch.log_softmax(hardness * values, 0)
    return list(weights + values)


def _log_sum(values: list[Tensor]) -> Tensor:
    return torch.stack(values).logsumexp(0)
