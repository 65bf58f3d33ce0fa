"""Paired differences of cross-fitted labels."""

import numpy as np
import pytest

from supcon.metrics.f1 import bootstrap_pair, macro_f1
from supcon.study.compare import RESAMPLES
from supcon.study.decided import compare_decided


def test_the_gain_is_the_mean_over_seeds_and_its_error_does_not_fall_with_them() -> None:
    draw = np.random.default_rng(0)
    true = draw.integers(0, 3, size=200)
    noisy = [np.where(draw.random(200) < part, draw.integers(0, 3, size=200), true) for part in (0.4, 0.3, 0.2, 0.1)]
    labels = {"ce": noisy[:2], "joint": noisy[2:]}
    best, base = compare_decided(true, labels, "ce", 3)
    assert (best.variant, base.variant) == ("joint", "ce")
    assert best.macro_f1 == pytest.approx(np.mean([macro_f1(true, own, 3) for own in noisy[2:]]))
    assert best.gain == pytest.approx(best.macro_f1 - base.macro_f1)
    errors = []
    for before, after in zip(noisy[:2], noisy[2:], strict=True):
        first, second = bootstrap_pair(true, before, after, 3, RESAMPLES, seed=0)
        errors.append(np.std(second - first))
    assert best.error == pytest.approx(np.mean(errors))
    assert (base.gain, base.error) == (0, 0)
