"""Decisions are judged on rows that had no part in them."""

import warnings

import numpy as np
import pytest

from supcon.decision.crossfit import Decider
from supcon.decision.ladder import TuningTask
from supcon.decision.merge import merge_members, merge_views
from supcon.decision.rule import Rule, class_prior
from supcon.metrics.counts import macro_f1
from supcon.metrics.metric import MetricName, make_metric
from supcon.metrics.of_probabilities import LogLoss
from supcon.settings.settings import TuneSettings
from tests.decision.simulate import PRIOR, simulate

CLASSES = len(PRIOR)


def task(classes: int = CLASSES, name: MetricName = "macro_f1") -> TuningTask:
    metric = make_metric(name, classes, np.arange(classes))
    return TuningTask(metric, TuneSettings(trials=40, bootstrap=200), np.zeros(classes, np.int64))


def decide(rows: int, strength: float, seed: int, folds: int = 4) -> tuple[Decider, np.ndarray, np.ndarray, np.ndarray]:
    (logits,), true = simulate(rows, strength, seed)
    fold = np.arange(rows) % folds
    return Decider([logits], true, fold, task()), logits, true, fold


def test_a_folds_rule_does_not_depend_on_its_own_labels() -> None:
    _, logits, true, fold = decide(600, 1.5, seed=0)
    shuffled = true.copy()
    held_out = np.flatnonzero(fold == 2)
    shuffled[held_out] = np.random.default_rng(0).permutation(shuffled[held_out])
    before = Decider([logits], true, fold, task()).decide()
    after = Decider([logits], shuffled, fold, task()).decide()
    assert before.fold_rules[2] == after.fold_rules[2]
    np.testing.assert_array_equal(before.predicted[held_out], after.predicted[held_out])
    assert before.fold_rules[1] != after.fold_rules[1]


def test_with_random_labels_the_cross_fitted_score_is_chance_while_in_sample_is_above() -> None:
    draw = np.random.default_rng(1)
    true = draw.integers(0, 4, 800)
    logits = draw.normal(size=(800, 1, 4)).astype(np.float32)
    decision = Decider([logits], true, np.arange(800) % 4, task(4)).decide()
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


@pytest.mark.parametrize(("strength", "least"), [(5.0, -0.003), (1.5, 0.02), (1.0, 0.02)])
def test_on_fresh_rows_merged_from_five_models_decisions_do_not_cost(strength: float, least: float) -> None:
    gains = []
    for seed in range(2):
        decision = decide(700, strength, seed=10 + seed)[0].decide()
        members, true = simulate(6000, strength, seed=100 + seed, members=5)
        merged, _ = merge_members([decision.rule.merge([member]) for member in members])
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
    assert Rule.from_json(rule.as_json(names, ["run"])) == rule
    plain = Rule(tuple(PRIOR.tolist()))
    assert Rule.from_json(plain.as_json(names, ["run"])) == plain
    assert set(plain.as_json(names, ["run"])["thresholds"].values()) == {1.0}


def test_the_ladder_climbs_for_the_hosts_metric() -> None:
    (logits,), true = simulate(1200, 1.0, seed=4)
    fold = np.arange(1200) % 4
    accuracy = Decider([logits], true, fold, task(name="accuracy")).decide()
    balanced = Decider([logits], true, fold, task(name="balanced_accuracy")).decide()
    hits = accuracy.predicted == true
    assert (
        hits.mean() > (balanced.predicted == true).mean()
    )  # argmax is best for one, the prior taken off for the other
    assert balanced.rule.alpha > 0.3
    assert balanced.ladder[1].chosen


def test_log_loss_gets_a_temperature_and_a_clip_fitted_on_other_rows() -> None:
    (logits,), true = simulate(1200, 2.0, seed=7)
    sharp = (4 * logits).astype(np.float32)
    decision = Decider([sharp], true, np.arange(1200) % 4, task(name="log_loss")).decide()
    assert [step.rung for step in decision.ladder] == ["raw", "temperature", "clipping"]
    assert decision.ladder[1].chosen
    assert decision.ladder[1].gain > 0.1
    assert 2 < decision.rule.temperatures[0] < 6
    np.testing.assert_allclose(np.exp(decision.predicted).sum(axis=1), 1)
    assert LogLoss().score(true, decision.predicted) == pytest.approx(decision.ladder[-1].cross_fitted, abs=0.02)


def test_a_clip_saves_a_model_that_is_surely_wrong() -> None:
    (logits,), true = simulate(1200, 6.0, seed=8)
    logits[:12] = -30
    logits[np.arange(12), :, (true[:12] + 1) % CLASSES] = 30
    decision = Decider([logits], true, np.arange(1200) % 4, task(name="log_loss")).decide()
    assert decision.rule.rung == "clipping"
    assert np.exp(decision.predicted).min() > 1e-5


def test_rows_that_are_never_scored_count_in_the_prior() -> None:
    assert class_prior(np.array([0, 0, 1]), np.array([0, 0, 6])) == (3 / 12, 2 / 12, 7 / 12)


def test_two_folds_with_one_row_a_class_are_judged_without_an_empty_half() -> None:
    logits, true = np.zeros((6, 1, 3), np.float32), np.arange(6) % 3
    with warnings.catch_warnings(action="error"):
        decision = Decider([logits], true, np.arange(6) // 3, task(3)).decide()
    assert all(np.isfinite(step.gain) for step in decision.ladder)
