"""Decisions are judged on rows that had no part in them."""

import numpy as np
import pytest

from supcon.config.settings import TuneSettings
from supcon.decision.crossfit import Decider
from supcon.decision.merge import merge_members, merge_views
from supcon.decision.rule import Rule
from supcon.metrics.f1 import macro_f1
from tests.decision.simulate import PRIOR, simulate

FAST = TuneSettings(trials=40, bootstrap=200)
CLASSES = len(PRIOR)


def decide(rows: int, strength: float, seed: int, folds: int = 4) -> tuple[Decider, np.ndarray, np.ndarray, np.ndarray]:
    (logits,), true = simulate(rows, strength, seed)
    fold = np.arange(rows) % folds
    return Decider(logits, true, fold, FAST), logits, true, fold


def test_a_folds_rule_does_not_depend_on_its_own_labels() -> None:
    _, logits, true, fold = decide(600, 1.5, seed=0)
    shuffled = true.copy()
    held_out = np.flatnonzero(fold == 2)
    shuffled[held_out] = np.random.default_rng(0).permutation(shuffled[held_out])
    before = Decider(logits, true, fold, FAST).decide()
    after = Decider(logits, shuffled, fold, FAST).decide()
    assert before.fold_rules[2] == after.fold_rules[2]
    np.testing.assert_array_equal(before.predicted[held_out], after.predicted[held_out])
    assert before.fold_rules[1] != after.fold_rules[1]


def test_with_random_labels_the_cross_fitted_score_is_chance_while_in_sample_is_above() -> None:
    draw = np.random.default_rng(1)
    true = draw.integers(0, 4, 800)
    logits = draw.normal(size=(800, 1, 4)).astype(np.float32)
    decision = Decider(logits, true, np.arange(800) % 4, FAST).decide()
    assert abs(macro_f1(true, decision.predicted, 4) - 0.25) < 0.045
    assert decision.ladder[-1].in_sample >= decision.ladder[0].in_sample


def test_the_ladder_is_climbed_only_past_the_standard_error() -> None:
    for strength in (1.0, 4.0):
        ladder = decide(800, strength, seed=3)[0].decide().ladder
        assert [step.rung for step in ladder] == ["argmax", "prior", "thresholds"]
        for step in ladder[1:]:
            assert step.chosen == (step.gain > step.standard_error)


def test_a_weak_model_gains_from_the_decision() -> None:
    decider, logits, true, _ = decide(1200, 1.0, seed=4)
    decision = decider.decide()
    raw = macro_f1(true, merge_views(logits, 1.0).argmax(axis=1), CLASSES)
    assert macro_f1(true, decision.predicted, CLASSES) > raw + 0.01


@pytest.mark.parametrize(("strength", "least"), [(5.0, -0.003), (1.5, 0.0)])
def test_on_fresh_rows_merged_from_five_models_decisions_do_not_cost(strength: float, least: float) -> None:
    gains = []
    for seed in range(4):
        decision = decide(700, strength, seed=10 + seed)[0].decide()
        members, true = simulate(6000, strength, seed=100 + seed, members=5)
        merged, _ = merge_members([merge_views(member, decision.rule.temperature) for member in members])
        argmax = macro_f1(true, merged.argmax(axis=1), CLASSES)
        gains.append(macro_f1(true, decision.rule.decide(merged), CLASSES) - argmax)
    assert np.mean(gains) >= least


@pytest.mark.parametrize("folds", [2, 3])
def test_few_folds_are_cross_fitted_too(folds: int) -> None:
    decision = decide(400, 1.0, seed=5, folds=folds)[0].decide()
    assert (decision.predicted >= 0).all()
    assert set(decision.fold_rules) == set(range(folds))


def test_a_rule_survives_its_json() -> None:
    rule = decide(300, 1.0, seed=6)[0].decide().rule
    names = [f"c{number}" for number in range(CLASSES)]
    assert Rule.from_json(rule.as_json(names)) == rule
    plain = Rule(tuple(PRIOR.tolist()))
    assert Rule.from_json(plain.as_json(names)) == plain
    assert set(plain.as_json(names)["thresholds"].values()) == {1.0}
