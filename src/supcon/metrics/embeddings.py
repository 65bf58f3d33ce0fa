"""How good an embedding space is: its geometry on the unit sphere, and the vote of nearest neighbours.

`alignment` and `uniformity`: Wang & Isola 2020, "Understanding Contrastive Representation Learning through Alignment
and Uniformity on the Hypersphere" (arXiv 2005.10242); both are the better the lower. Embeddings are normalised inside.
"""

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from supcon.arrays import Features, Labels
from supcon.metrics.counts import macro_f1


def embedding_quality(
    train_embeddings: Features,
    train_labels: Labels,
    held_out_embeddings: Features,
    held_out_labels: Labels,
    classes: int,
) -> dict[str, float]:
    """Return what each function here says of embeddings [rows, D] with class numbers [rows], by its name.

    The geometry is that of the held-out rows, which the encoder never saw; training rows serve only as neighbours.
    """
    bank, rows = (torch.from_numpy(np.asarray(z, np.float32)) for z in (train_embeddings, held_out_embeddings))
    bank_labels, labels = (torch.from_numpy(np.asarray(y, np.int64)) for y in (train_labels, held_out_labels))
    return {
        "alignment": alignment(rows, labels),
        "uniformity": uniformity(rows),
        "isotropy": isotropy(rows),
        "effective_rank": effective_rank(rows),
        "distance_ratio": distance_ratio(rows, labels),
        "knn_macro_f1": knn_macro_f1(bank, bank_labels, rows, labels, classes) if len(rows) else math.nan,
    }


def knn_macro_f1(
    bank: Tensor, bank_labels: Tensor, queries: Tensor, labels: Tensor, classes: int, k: int = 20
) -> float:
    """Return the macro-F1 of a cosine-weighted vote of the `k` nearest of `bank` [M, D] for `queries` [Q, D]."""
    bank, queries = F.normalize(bank.float(), dim=1), F.normalize(queries.float(), dim=1)
    predicted = []
    for part in queries.split(1024):
        similarity, nearest = (part @ bank.T).topk(min(k, len(bank)), dim=1)
        votes = torch.zeros(len(part), classes, device=part.device)
        votes.scatter_add_(1, bank_labels[nearest], (similarity / 0.07).exp())  # weights as in Wu et al. 2018
        predicted.append(votes.argmax(dim=1))
    return macro_f1(labels.cpu().numpy(), torch.cat(predicted).cpu().numpy(), classes)


def alignment(embeddings: Tensor, labels: Tensor) -> float:
    """Return the mean of ||z_i - z_p||^2 over positive pairs: 0 where every class is one point, at most 4.

    `embeddings` [N, D], `labels` [N]. Each item that has positives counts once, by the mean over them, as an anchor of
    the contrastive losses does; if each pair counted once, a class would weigh the square of its size. `nan` without
    any positive. Time N x D.
    """
    z = _on_sphere(_wide(embeddings), labels)
    sums, sizes = _own_class(z, labels)
    positives = sizes - 1
    totals = 2 * positives - 2 * (z * (sums - z)).sum(dim=1)  # ||z_i - z_p||^2 = 2 - 2 z_i . z_p
    valid = positives > 0
    return float((totals[valid] / positives[valid]).mean())


def uniformity(embeddings: Tensor, t: float = 2, *, chunk: int = 1024) -> float:
    """Return log mean_{i<j} exp(-t ||z_i - z_j||^2): 0 where all are one point, and near -2t where they spread evenly.

    `embeddings` [N, D]. At least -2t N / (N - 1), which a regular simplex reaches. `nan` for fewer than two rows.
    Compares all pairs, `chunk` rows at a time.
    """
    z = _on_sphere(_wide(embeddings))
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
    z = _on_sphere(embeddings.double(), labels)
    sums, sizes = _own_class(z, labels)
    positives, negatives = sizes - 1, len(z) - sizes
    within = 2 - 2 * (z * (sums - z)).sum(dim=1) / positives
    between = 2 - 2 * (z * (z.sum(dim=0) - sums)).sum(dim=1) / negatives
    squared = within[positives > 0].mean() / between[negatives > 0].mean()
    return float(squared.clamp(min=0).sqrt())


def effective_rank(embeddings: Tensor) -> float:
    """Return exp of the entropy of the singular values' shares (Roy & Vetterli 2007): 1 .. min(N, D).

    `embeddings` [N, D]. The dimensions in use; not centred, as in RankMe (Garrido et al. 2023). `nan` without rows.
    """
    z = _on_sphere(embeddings.double())
    if len(z) == 0:
        return math.nan
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
    z = _on_sphere(embeddings.double())
    z = z - z.mean(dim=0)
    used = z.square().sum() ** 2 / _smaller_product(z).square().sum()
    return float((used - 1) / (z.shape[1] - 1)) if z.shape[1] > 1 else math.nan


def _own_class(z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Return the sum of the items of each item's class, [N, D], and their number, [N]."""
    _, labels, sizes = torch.unique(labels, return_inverse=True, return_counts=True)
    return z.new_zeros(len(sizes), z.shape[1]).index_add_(0, labels, z)[labels], sizes[labels]


def _smaller_product(z: Tensor) -> Tensor:
    """Return z z^T or z^T z, which have the same eigenvalues above 0."""
    return z @ z.T if len(z) < z.shape[1] else z.T @ z


def _wide(embeddings: Tensor) -> Tensor:
    return embeddings if embeddings.dtype == torch.float64 else embeddings.float()


def _on_sphere(embeddings: Tensor, labels: Tensor | None = None) -> Tensor:
    if embeddings.ndim != 2:
        raise ValueError(f"embeddings must be [N, D], not {list(embeddings.shape)}")
    if labels is not None and labels.shape != embeddings.shape[:1]:
        raise ValueError(f"labels must be [{len(embeddings)}] as the embeddings are, not {list(labels.shape)}")
    return F.normalize(embeddings, dim=1)
