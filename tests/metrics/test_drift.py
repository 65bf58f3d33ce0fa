"""Drift: no difference is 0.5, its standard error is its spread, and foreign rows are drifts."""

import warnings

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from supcon.metrics.drift import _area, drift_auc


def features(seed: int, rows: int, shift: float = 0.0) -> np.ndarray:
    draw = np.random.default_rng(seed)
    return np.maximum(draw.normal(size=(rows, 12)), 0) + 0.2 + shift * np.eye(12)[0]


def test_rows_of_one_kind_are_not_told_apart_within_the_standard_error() -> None:
    drifts = [drift_auc(features(seed, 150), features(1000 + seed, 200)) for seed in range(40)]
    aucs = np.array([drift.auc for drift in drifts])
    errors = np.array([drift.standard_error for drift in drifts])
    assert aucs.mean() == pytest.approx(0.5, abs=0.02)
    assert aucs.std() == pytest.approx(errors.mean(), rel=0.35)


def test_foreign_rows_are_told_apart_and_are_the_likeliest_test_rows() -> None:
    own, test = features(0, 300), np.concatenate([features(1, 280), features(2, 20, shift=6.0)])
    drift = drift_auc(own, test)
    assert len(set(np.argsort(-drift.test_probability)[:20]) & set(range(280, 300))) >= 18
    assert drift.auc < 0.65
    assert drift_auc(own, features(3, 300, shift=6.0)).auc > 0.99
    assert drift.held_out_probability.shape == (300,)


def test_the_area_is_scikit_learns_and_its_error_that_of_resampled_rows() -> None:
    draw = np.random.default_rng(0)
    positive = draw.random(400) < 0.3
    score = np.round(draw.normal(size=400) + positive, 1)  # with ties
    area, influence = _area(score, positive)
    assert area == pytest.approx(roc_auc_score(positive, score))
    samples = draw.integers(0, 400, (1500, 400))
    spread = np.std([roc_auc_score(positive[rows], score[rows]) for rows in samples])
    assert np.sqrt(np.square(influence).sum()) == pytest.approx(spread, rel=0.08)


def test_groups_stay_together_and_widen_the_error() -> None:
    draw = np.random.default_rng(5)
    groups = np.repeat(np.arange(20), 15)
    own = features(0, 300) + draw.normal(size=(20, 12)).clip(0)[groups]  # rows of a group are alike
    test = features(1, 300) + draw.normal(size=(300, 12)).clip(0)
    by_rows, by_groups = drift_auc(own, test), drift_auc(own, test, groups=groups)
    assert by_groups.standard_error > 1.5 * by_rows.standard_error
    assert by_rows.auc > by_groups.auc + 0.05  # a model that has seen the rest of a group knows it again


def test_the_seed_alone_decides_and_no_warning_is_given() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        first, again, other = (drift_auc(features(0, 60), features(1, 50), seed) for seed in (0, 0, 1))
    assert first.auc == again.auc != other.auc
    assert (first.test_probability == again.test_probability).all()


def test_too_few_rows_or_groups_have_no_value() -> None:
    few = drift_auc(features(0, 4), features(1, 50))
    assert np.isnan([few.auc, few.standard_error, *few.held_out_probability, *few.test_probability]).all()
    assert np.isnan(drift_auc(features(0, 40), features(1, 50), groups=np.arange(40) % 4).auc)
