"""Logits of models of known strength: for tests and benchmarks of the decision."""

import numpy as np

from supcon.arrays import Labels, ModelLogits

PRIOR = np.array([0.35, 0.22, 0.15, 0.12, 0.09, 0.05, 0.02])


def simulate(
    rows: int, strength: float, seed: int, members: int = 1, shared: float = 0.75
) -> tuple[list[ModelLogits], Labels]:
    """Return `members` models' natural-prior logits [rows, 1, classes] and the true classes.

    The models' errors are correlated: `shared` is the part of their noise's variance that they have in common.
    """
    draw = np.random.default_rng(seed)
    true = draw.choice(len(PRIOR), rows, p=PRIOR)
    common = draw.normal(size=(rows, len(PRIOR)))
    signal = strength * np.eye(len(PRIOR))[true] + np.log(PRIOR)
    noises = [np.sqrt(shared) * common + np.sqrt(1 - shared) * draw.normal(size=common.shape) for _ in range(members)]
    return [(signal + noise)[:, None].astype(np.float32) for noise in noises], true
