"""Pseudo-random permutations of any length, evaluated place by place: no list of the length is ever made.

A Feistel network on a grid of width x height >= length cells (Black and Rogaway 2002, "Ciphers with arbitrary finite
domains"): each half is shifted by a hash of the other, which can be undone, so the whole is a permutation of the cells;
a place that leaves the length is sent through again until it is back inside ("cycle walking").
"""

import numpy as np
import numpy.typing as npt

from supcon.randomness import seed_at

Places = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

_ROUNDS = 3  # of both halves
_ODD = np.uint64(0x9E3779B97F4A7C15)


def keys_of(seed: int, *numbers: Places) -> Keys:
    """Return a key for each place that the `numbers` (arrays of one shape) name under `seed`."""
    keys: Keys = np.full(numbers[0].shape, seed_at(seed, "keys"), np.uint64)
    for number in numbers:
        keys ^= (keys >> np.uint64(32)) ^ number.astype(np.uint64)
        keys = _mix(keys)
    return keys


def permute(places: Places, lengths: Places, keys: Keys) -> Places:
    """Return where the permutations of range(length) named by `keys` send `places`; all arrays broadcast."""
    width = np.ceil(np.sqrt(lengths)).astype(np.int64)
    height = -(-lengths // width)
    sent = _feistel(places, width, height, keys)
    while (outside := sent >= lengths).any():
        sent = np.where(outside, _feistel(sent, width, height, keys), sent)
    return sent


def _feistel(places: Places, width: Places, height: Places, keys: Keys) -> Places:
    left, right = np.divmod(places, height)
    for _ in range(_ROUNDS):
        left = (left + _noise(right, keys := keys + _ODD)) % width
        right = (right + _noise(left, keys := keys + _ODD)) % height
    return left * height + right


def _noise(half: Places, keys: Keys) -> Places:
    return (_mix(half.astype(np.uint64) + keys) >> np.uint64(32)).astype(np.int64)


def _mix(number: Keys) -> Keys:
    """Return numbers whose upper bits depend on all bits given (multiply, fold, multiply)."""
    number = number * np.uint64(0xFF51AFD7ED558CCD)
    return (number ^ (number >> np.uint64(32))) * np.uint64(0xC4CEB9FE1A85EC53)
