"""How well nearest neighbours in embedding space tell the classes apart."""

import torch
from torch import Tensor
from torch.nn import functional as F

from supcon.metrics.f1 import macro_f1


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
