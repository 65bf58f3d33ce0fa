"""What a contrastive loss can be at best, and what it is when every embedding is the same."""

import math

import torch
from torch import Tensor

from supcon.losses.batch import count_positives


def contrastive_bounds(labels: Tensor, temperature: float) -> tuple[float, float]:
    """Return the floor and the collapse value of a batch's loss, forms `out` and `in`.

    Similarities lie between -1/t and 1/t, so an anchor's loss is at least log(|P| + |N| exp(-2/t)): the floor is the
    mean of that over the anchors with positives. A batch of equal embeddings gives log(N - 1).
    """
    positives = count_positives(labels).double()
    negatives = len(labels) - 1 - positives
    valid = positives > 0
    if not valid.any():
        return 0.0, 0.0
    floors = torch.log(positives[valid] + negatives[valid] * math.exp(-2 / temperature))
    return float(floors.mean()), math.log(len(labels) - 1)
