"""One merge rule for views, folds and runs."""

import numpy as np
from scipy.optimize import brentq

from supcon.decision.merge import log_softmax, mean_entropy, merge_members, merge_views

DRAW = np.random.default_rng(0)


def test_views_merge_to_normalised_probabilities_whose_order_temperature_keeps_for_one_view() -> None:
    logits = DRAW.normal(size=(50, 1, 5)).astype(np.float32)
    for temperature in (0.3, 1.0, 4.0):
        merged = merge_views(logits, temperature)
        np.testing.assert_allclose(np.exp(merged).sum(axis=1), 1)
        np.testing.assert_array_equal(merged.argmax(axis=1), logits[:, 0].argmax(axis=1))


def test_merged_members_have_the_mean_entropy_of_the_members() -> None:
    shared = 2 * DRAW.normal(size=(400, 6))
    members = [log_softmax(shared + 2 * DRAW.normal(size=(400, 6))) for _ in range(5)]
    merged, exponent = merge_members(members)
    assert exponent > 1.05
    assert abs(mean_entropy(merged) - np.mean([mean_entropy(member) for member in members])) < 1e-4


def test_the_exponent_is_the_root_that_a_library_finds() -> None:
    shared = 2 * DRAW.normal(size=(200, 6))
    for spread in (0.3, 1.0, 3.0):
        members = [log_softmax(shared + spread * DRAW.normal(size=(200, 6))) for _ in range(4)]
        merged, target = np.mean(members, axis=0), np.mean([mean_entropy(member) for member in members])
        root = brentq(lambda a, m=merged, t=target: mean_entropy(log_softmax(a * m)) - t, 0.25, 16, xtol=1e-12)
        assert abs(merge_members(members)[1] - root) < 1e-6


def test_one_member_is_left_as_it_is() -> None:
    member = log_softmax(DRAW.normal(size=(20, 3)))
    merged, exponent = merge_members([member])
    assert exponent == 1
    np.testing.assert_allclose(merged, member)


def test_models_beside_the_members_weigh_alike_but_do_not_set_the_entropy() -> None:
    members = [log_softmax(DRAW.normal(size=(300, 4))) for _ in range(3)]
    sharp = log_softmax(6 * DRAW.normal(size=(300, 4)))
    merged, exponent = merge_members(members, beside=[sharp])
    np.testing.assert_allclose(merged, log_softmax(exponent * np.mean([*members, sharp], axis=0)))
    assert abs(mean_entropy(merged) - np.mean([mean_entropy(member) for member in members])) < 1e-4


def test_certain_members_are_merged_without_an_exponent() -> None:
    certain = log_softmax(1e6 * np.eye(3)[DRAW.integers(0, 3, 30)])
    merged, exponent = merge_members([certain, certain])
    assert exponent == 1
    assert np.isfinite(merged[merged > -100]).all()
