"""The calibration temperature minimises the negative log-likelihood."""

import numpy as np
import pytest

from supcon.decision.calibration import calibration_temperature, negative_log_likelihood
from supcon.decision.merge import log_softmax, merge_views


def test_overconfident_logits_are_cooled_by_the_factor_they_were_heated_with() -> None:
    draw = np.random.default_rng(0)
    honest = draw.normal(size=(20_000, 1, 4)) * 1.5
    shares = np.exp(log_softmax(honest[:, 0]))
    true = (draw.random((20_000, 1)) > shares.cumsum(axis=1)).sum(axis=1)
    temperature = calibration_temperature((3 * honest).astype(np.float32), true)
    assert temperature == pytest.approx(3, rel=0.05)
    for other in (2.0, 4.5):
        cooler = negative_log_likelihood(merge_views((3 * honest).astype(np.float32), other), true)
        assert negative_log_likelihood(merge_views((3 * honest).astype(np.float32), temperature), true) < cooler
