"""Randomness is addressed, not streamed: a seed is a hash of where it is used."""

import hashlib
import random

import numpy as np


def seed_at(*address: int | str) -> int:
    """Return the 63-bit seed of an address such as (seed, epoch, row, occurrence, view): a hash of it."""
    text = "\0".join(map(str, address)).encode()
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") >> 1


def seed_everything(*address: int | str) -> None:
    """Seed the global streams of Python, NumPy and torch (dropout, stochastic depth, mixup) by an address."""
    import torch

    seed = seed_at(*address)
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)
