"""Randomness is addressed, not streamed: a seed is a hash of where it is used."""

import hashlib
import random

import numpy as np


def seed_at(*where: int | str) -> int:
    """Return a 63-bit seed for the place that `where` names, such as (seed, epoch, row, occurrence, view)."""
    text = "\0".join(map(str, where)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def seed_everything(*where: int | str) -> None:
    """Seed the global streams of Python, NumPy and torch (dropout, stochastic depth, mixup) for the place `where`."""
    import torch

    seed = seed_at(*where)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
