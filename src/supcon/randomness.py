"""Randomness is addressed, not streamed: a seed is a hash of where it is used."""

import hashlib
import random
import sys
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def undisturbed() -> Iterator[None]:
    """Leave the global streams of Python, NumPy and torch (on the CPU) as they were, whatever is done within."""
    torch = sys.modules.get("torch")
    ours, of_numpy, of_torch = random.getstate(), np.random.get_state(), torch.get_rng_state() if torch else None
    try:
        yield
    finally:
        random.setstate(ours)
        np.random.set_state(of_numpy)
        if torch:
            torch.set_rng_state(of_torch)
