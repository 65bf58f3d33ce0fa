"""Calibration, against bins by hand and simulated confidences."""

import numpy as np
import pytest

from supcon.metrics.calibration import calibration_error, reliability_bins


def rows_of(confidences: list[float]) -> np.ndarray:
    """Log-probabilities of three classes, of which class 0 is the likeliest."""
    return np.log([[c, (1 - c) * 0.7, (1 - c) * 0.3] for c in confidences])


def test_bins_by_hand() -> None:
    log_probabilities = rows_of([0.45, 0.55, 0.85, 0.85, 0.95, 0.9999])
    bins_of_rows = reliability_bins(log_probabilities, np.array([0, 1, 0, 2, 0, 0]), bins=10)
    assert bins_of_rows.count.tolist() == [0, 0, 0, 0, 1, 1, 0, 0, 2, 2]
    np.testing.assert_allclose(bins_of_rows.accuracy[[4, 5, 8, 9]], [1, 0, 0.5, 1])
    np.testing.assert_allclose(bins_of_rows.confidence[[4, 5, 8, 9]], [0.45, 0.55, 0.85, 0.97495])
    assert np.isnan(bins_of_rows.accuracy[0])
    assert bins_of_rows.error == pytest.approx((0.55 + 0.55 + 2 * 0.35 + 2 * 0.02505) / 6)
    np.testing.assert_allclose(bins_of_rows.edges, np.linspace(0, 1, 11))


def test_the_error_over_bins_of_equal_mass_is_that_of_the_definition() -> None:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(60, 4)) * 2
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    true = draw.integers(0, 4, 60)
    confidence, right = np.exp(log_probabilities).max(axis=1), log_probabilities.argmax(axis=1) == true
    parts = np.split(np.argsort(confidence), 5)
    expected = sum(abs(right[part].mean() - confidence[part].mean()) * len(part) for part in parts) / 60
    assert calibration_error(log_probabilities, true, bins=5) == pytest.approx(expected)


def test_a_calibrated_model_has_a_small_error_and_an_overconfident_one_its_excess() -> None:
    draw = np.random.default_rng(1)
    confidence = draw.uniform(0.4, 0.99, 40_000)
    log_probabilities = rows_of(confidence.tolist())
    calibrated = np.where(draw.random(40_000) < confidence, 0, 1)
    overconfident = np.where(draw.random(40_000) < confidence - 0.1, 0, 1)
    assert calibration_error(log_probabilities, calibrated) < 0.012
    assert calibration_error(log_probabilities, overconfident) == pytest.approx(0.1, abs=0.01)
    assert reliability_bins(log_probabilities, overconfident).error == pytest.approx(0.1, abs=0.01)


def test_equal_confidences_share_a_bin_whatever_the_order_of_the_rows() -> None:
    true = np.repeat([0, 1], [80, 20])
    order = np.random.default_rng(2).permutation(100)
    certain = rows_of([0.9] * 100)
    assert calibration_error(certain, true) == pytest.approx(0.1) == calibration_error(certain, true[order])
    sure = np.log(np.array([[1 - 1e-16, 1e-16]] * 100))
    assert calibration_error(sure, true) == pytest.approx(0.2)
    assert reliability_bins(sure, true).count[-1] == 100


def test_no_rows_have_no_error() -> None:
    assert np.isnan(calibration_error(np.empty((0, 3)), np.empty(0, np.int64)))
    assert reliability_bins(np.empty((0, 3)), np.empty(0, np.int64)).count.sum() == 0
