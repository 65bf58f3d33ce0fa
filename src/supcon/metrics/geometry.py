"""The geometry of embeddings on the unit sphere: how close positives are, and how evenly all of them spread.

`alignment` and `uniformity`: Wang & Isola 2020, "Understanding Contrastive Representation Learning through Alignment
and Uniformity on the Hypersphere" (arXiv 2005.10242); both are the better the lower. Embeddings are normalised inside.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def alignment(embeddings: Tensor, labels: Tensor, alpha: float = 2, *, chunk: int = 1024) -> float:
    """Return the mean of ||z_i - z_p||^alpha over positive pairs: 0 where every class is one point, at most 2^alpha.

    `embeddings` [N, D], `labels` [N]. Each item that has positives counts once, by the mean over them, as an anchor of
    the contrastive losses does; if each pair counted once, a class would weigh the square of its size. `nan` without
    any positive. Alpha 2 takes time N x D; any other compares all pairs of a class, `chunk` rows at a time.
    """
    _check(embeddings, labels)
    z = F.normalize(_wide(embeddings), dim=1)
    _, labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    positives = counts[labels] - 1
    if alpha == 2:  # ||z_i - z_p||^2 = 2 - 2 z_i . z_p, and the sum of z_p is that of the class less z_i
        sums = z.new_zeros(len(counts), z.shape[1]).index_add_(0, labels, z)
        totals = 2 * positives - 2 * (z * (sums[labels] - z)).sum(dim=1)
    else:
        totals = torch.empty_like(z[:, 0])
        for label in range(len(counts)):
            members = labels == label
            totals[members] = _distance_sums(z[members], alpha, chunk)
    valid = positives > 0
    return float((totals[valid] / positives[valid]).mean())


def uniformity(embeddings: Tensor, t: float = 2, *, chunk: int = 1024) -> float:
    """Return log mean_{i<j} exp(-t ||z_i - z_j||^2): 0 where all are one point, and near -2t where they spread evenly.

    `embeddings` [N, D]. At least -2t N / (N - 1), which a regular simplex reaches. `nan` for fewer than two rows.
    Compares all pairs, `chunk` rows at a time.
    """
    _check(embeddings)
    z = F.normalize(_wide(embeddings), dim=1)
    if len(z) < 2:
        return math.nan
    parts = []
    for start in range(0, len(z), chunk):
        exponents = (z[start : start + chunk] @ z[start:].T).sub_(1).mul_(2 * t)  # -t ||z_i - z_j||^2
        exponents.masked_fill_(torch.ones_like(exponents, dtype=torch.bool).tril_(), -torch.inf)  # pairs i < j
        parts.append(exponents.logsumexp(dim=(0, 1)))
    return float(torch.stack(parts).logsumexp(dim=0)) - math.log(len(z) * (len(z) - 1) / 2)


def distance_ratio(embeddings: Tensor, labels: Tensor) -> float:
    """Return the distance within classes over that between them, root mean squares: 0 where every class is one point.

    `embeddings` [N, D], `labels` [N]. Each item counts once within, by the mean over its positives, and once between,
    by the mean over its negatives. Near 1 where labels mean nothing; `nan` without positives or negatives. Time N x D.
    """
    _check(embeddings, labels)
    z = F.normalize(embeddings.double(), dim=1)
    _, labels, counts = torch.unique(labels, return_inverse=True, return_counts=True)
    sums = z.new_zeros(len(counts), z.shape[1]).index_add_(0, labels, z)[labels]
    positives, negatives = counts[labels] - 1, len(z) - counts[labels]
    within = 2 - 2 * (z * (sums - z)).sum(dim=1) / positives  # ||z_i - z_p||^2 = 2 - 2 z_i . z_p
    between = 2 - 2 * (z * (z.sum(dim=0) - sums)).sum(dim=1) / negatives
    squared = within[positives > 0].mean() / between[negatives > 0].mean()
    return float(squared.clamp(min=0).sqrt())


def effective_rank(embeddings: Tensor) -> float:
    """Return exp of the entropy of the singular values' shares (Roy & Vetterli 2007): 1 .. min(N, D).

    `embeddings` [N, D]. How many dimensions are used; not centred, as in RankMe (Garrido et al. 2023). `nan` without
    rows.
    """
    _check(embeddings)
    if len(embeddings) == 0:
        return math.nan
    z = F.normalize(embeddings.double(), dim=1)
    squares = torch.linalg.eigvalsh(_smaller_product(z))  # of the singular values: far cheaper than these for N >> D
    values = squares.clamp(min=0).where(squares > squares.max() * 1e-14, 0).sqrt()  # below that it is rounding
    shares = values / values.sum()
    return float(torch.special.entr(shares).sum().exp())


def isotropy(embeddings: Tensor) -> float:
    """Return IsoScore (Rudman et al. 2022): 0 where all variance is in one direction, 1 where it is alike in all D.

    `embeddings` [N, D]. A value of k / D says that about k dimensions are used alike; N rows reach (N - 1) / D at most.
    `nan` for one dimension, and without variance. The five steps of the paper come to (r - 1) / (D - 1), with r =
    trace(C)^2 / ||C||^2 of the covariance C.
    """
    _check(embeddings)
    z = F.normalize(embeddings.double(), dim=1)
    z = z - z.mean(dim=0)
    used = z.square().sum() ** 2 / _smaller_product(z).square().sum()
    return float((used - 1) / (z.shape[1] - 1)) if z.shape[1] > 1 else math.nan


def _smaller_product(z: Tensor) -> Tensor:
    """Return z z^T or z^T z, which have the same eigenvalues above 0."""
    return z @ z.T if len(z) < z.shape[1] else z.T @ z


def _distance_sums(members: Tensor, alpha: float, chunk: int) -> Tensor:
    """Return each member's sum of distances^alpha to all of them, [members]."""
    exact = "donot_use_mm_for_euclid_dist"  # by products a distance of 0 comes out as 3e-4
    rows = [torch.cdist(part, members, compute_mode=exact).pow(alpha).sum(dim=1) for part in members.split(chunk)]
    return torch.cat(rows)


def _wide(embeddings: Tensor) -> Tensor:
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


def _check(embeddings: Tensor, labels: Tensor | None = None) -> None:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be [N, D], not {list(embeddings.shape)}")
    if labels is not None and labels.shape != embeddings.shape[:1]:
        raise ValueError(f"labels must be [{len(embeddings)}] as the embeddings are, not {list(labels.shape)}")
