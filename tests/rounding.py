"""How far apart rounding may bring two computations of one thing: from arithmetic, so on any processor.

A processor adds the terms of a sum in an order of its own, so its result is another. What does not depend on it: each
operation is off by the unit roundoff u of its precision at most, and by how much a function blows that up.

The defaults of torch's assert_close (1e-5 in float32, 160 u) and of pytest's approx (1e-6, 16 u) have room for short
sums of numbers around 1. Bounds of longer ones, of losses and of networks stand here.
"""

from collections.abc import Iterable

import torch
from torch import Tensor

FLOAT64, FLOAT32, FLOAT16, BFLOAT16 = 2.0**-53, 2.0**-24, 2.0**-11, 2.0**-8  # unit roundoffs


def of_sums(terms: int, unit: float = FLOAT32) -> float:
    """Return how far sums of so many products may be off, in the norm of them all, relative to it.

    The worst that rounding can do to one sum is `terms` x `unit` of the sum of its terms' sizes. Roundings add up at
    random: of terms of random signs it is about the square root of `terms` times less, which is the room that is left.
    """
    return terms * unit


def of_contrast(temperature: float = 0.1, hardness: float = 0.0, unit: float = FLOAT32, length: float = 1.0) -> float:
    """Return how far a contrastive loss and its gradient may be off, relative to them.

    A similarity of unit vectors of d entries is off by up to (d + 2) u, u being the unit roundoff; its logit by
    1 / temperature of that, and by 1 + hardness of that where near negatives are weighed up. A gradient is made of
    differences of two such weights. With d = 6 that is 16 u; roundings add up at random, so it is for d = 32 too.

    Embeddings that are not brought to unit length have similarities, and errors, up to the square of their `length`.
    """
    return 16 * unit * (1 + hardness) * length**2 / temperature


def distance(found: Tensor, wanted: Tensor) -> float:
    """Return the norm of the difference, relative to that of `wanted`."""
    return float((found.double() - wanted.double()).norm() / wanted.double().norm())


def joined(parts: Iterable[Tensor | None]) -> Tensor:
    """Return all values of several tensors as one vector, without those that are None."""
    return torch.cat([part.detach().flatten() for part in parts if part is not None])
