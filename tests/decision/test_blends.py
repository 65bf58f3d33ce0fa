"""Several runs: weights are found where they pay, and judged on rows that had no part in them."""

from functools import partial

import numpy as np
import pytest

from supcon.arrays import Labels, ModelLogits
from supcon.decision.calibration import calibration_temperature
from supcon.decision.crossfit import Decider, on_processes
from supcon.decision.ladder import (
    GREEDY,
    LARGEST_GROUPS,
    MEMBERS,
    WEIGHTS,
    TuningTask,
    fit_rule,
    offset_groups,
    rungs_up_to,
)
from supcon.decision.merge import merge_runs, merge_views
from supcon.decision.rule import Rule
from supcon.metrics.counts import macro_f1
from supcon.metrics.metric import MetricName, make_metric
from supcon.settings.settings import TuneSettings

CLASSES = 5


def task(name: MetricName = "macro_f1", second_round: bool = False, start: tuple[float, ...] = ()) -> TuningTask:
    metric = make_metric(name, CLASSES, np.arange(CLASSES))
    settings = TuneSettings(trials=40, bootstrap=200)
    start = (1.0, 0.0) if second_round else start
    return TuningTask(metric, settings, np.zeros(CLASSES, np.int64), start, second_round)


def runs_of(strengths: list[float], rows: int = 900, seed: int = 0, views: int = 1) -> tuple[list[ModelLogits], Labels]:
    """Return runs of these strengths, whose errors are independent, and the true classes."""
    draw = np.random.default_rng(seed)
    true = draw.integers(0, CLASSES, rows)
    signal = np.eye(CLASSES)[true][:, None]
    return [(s * signal + draw.normal(size=(rows, views, CLASSES))).astype(np.float32) for s in strengths], true


def test_runs_of_equal_weight_are_their_mean_and_a_run_of_all_weight_is_itself() -> None:
    (first, second), _ = runs_of([1, 2], rows=20)
    prior = (1 / CLASSES,) * CLASSES
    both = np.asarray(Rule(prior, (1.0, 2.0), (0.5, 0.5)).merge([first, second]))
    parts = [merge_views(first, 1.0), merge_views(second, 2.0)]
    np.testing.assert_allclose(both, merge_runs([(part, 0.5) for part in parts]))
    np.testing.assert_allclose(np.exp(both).sum(axis=1), 1)
    np.testing.assert_array_equal(Rule(prior, (1.0, 2.0), (0.0, 1.0)).merge([first, second]), parts[1])


@pytest.mark.parametrize("rung", [GREEDY, WEIGHTS])
def test_a_useless_run_loses_its_weight(rung: str) -> None:
    runs, true = runs_of([2.0, 0.0, 2.0])
    base = fit_rule(("argmax",), runs, true, task(), None)
    assert base.weights == (1 / 3,) * 3
    rule = fit_rule(("argmax", rung), runs, true, task(), base)
    assert sum(rule.weights) == pytest.approx(1)
    assert rule.weights[1] < 0.15
    assert min(rule.weights[0], rule.weights[2]) > 0.25
    fresh, fresh_true = runs_of([2.0, 0.0, 2.0], rows=5000, seed=1)
    scores = [macro_f1(fresh_true, rule.merge(fresh).argmax(axis=1), CLASSES) for rule in (base, rule)]
    assert scores[1] > scores[0] + 0.005


def test_forward_selection_may_pick_a_run_twice() -> None:
    runs, true = runs_of([3.0, 1.5], rows=4000)
    base = fit_rule(("argmax",), runs, true, task(), None)
    rule = fit_rule(("argmax", GREEDY), runs, true, task(), base)
    assert 0.55 < rule.weights[0] < 1


def test_weights_that_do_not_help_are_not_used() -> None:
    runs, true = runs_of([1.5, 1.5])
    decision = Decider(runs, true, np.arange(len(true)) % 4, task()).decide()
    assert [step.rung for step in decision.ladder] == ["argmax", "prior", "thresholds", "greedy", "weights"]
    for step in decision.ladder[1:]:
        assert step.chosen == (step.gain > step.standard_error)
    alone = max(macro_f1(true, merge_views(run, 1.0).argmax(axis=1), CLASSES) for run in runs)
    assert macro_f1(true, decision.predicted, CLASSES) > alone + 0.02


def test_a_folds_weights_do_not_depend_on_its_own_labels() -> None:
    runs, true = runs_of([2.0, 0.3, 1.0], rows=400)
    fold = np.arange(400) % 4
    shuffled = true.copy()
    held_out = np.flatnonzero(fold == 1)
    shuffled[held_out] = np.random.default_rng(0).permutation(shuffled[held_out])
    before, after = (Decider(runs, labels, fold, task()).decide() for labels in (true, shuffled))
    assert before.fold_rules[1] == after.fold_rules[1]
    np.testing.assert_array_equal(before.predicted[held_out], after.predicted[held_out])
    assert before.fold_rules[0] != after.fold_rules[0]


def test_runs_of_unlike_confidence_are_brought_to_one_scale() -> None:
    (first, second), true = runs_of([2.0, 2.0], rows=2000)
    decision = Decider([first, 10 * second], true, np.arange(2000) % 4, task("log_loss")).decide()
    assert decision.rule.rung != "raw"
    assert decision.rule.temperatures[1] / decision.rule.temperatures[0] == pytest.approx(10, rel=0.2)
    np.testing.assert_allclose(np.exp(decision.predicted).sum(axis=1), 1)


def test_processes_change_no_result() -> None:
    runs, true = runs_of([1.0, 0.5], rows=300, views=2)
    alone, shared = (
        Decider(runs, true, np.arange(300) % 3, task(), fitters=partial(on_processes, count)).decide()
        for count in (1, 2)
    )
    assert alone.rule == shared.rule
    assert alone.fold_rules == shared.fold_rules
    assert alone.ladder == shared.ladder


@pytest.mark.parametrize(("second", "kept"), [(3.0, True), (0.7, False)])
def test_a_second_round_is_taken_only_where_it_raises_the_score(second: float, kept: bool) -> None:
    runs, true = runs_of([1.5, second])
    decision = Decider(runs, true, np.arange(len(true)) % 4, task(second_round=True)).decide()
    assert [step.rung for step in decision.ladder] == ["argmax", "round two", "prior", "thresholds"]
    assert decision.ladder[1].chosen is kept
    assert decision.rule.weights == ((0.0, 1.0) if kept else (1.0, 0.0))
    assert decision.untuned.weights == (1.0, 0.0)


@pytest.mark.parametrize("name", ["macro_f1", "log_loss"])
@pytest.mark.parametrize(("beside", "kept"), [(1.5, True), (0.0, False)])
def test_a_member_beside_the_head_decides_only_where_it_raises_the_score(
    name: MetricName, beside: float, kept: bool
) -> None:
    runs, true = runs_of([1.5, beside])
    decision = Decider(runs, true, np.arange(len(true)) % 4, task(name, start=(1.0, 0.0))).decide()
    members = next(step for step in decision.ladder if step.rung == MEMBERS)
    assert {GREEDY, WEIGHTS}.isdisjoint(step.rung for step in decision.ladder)
    assert members.chosen is kept
    assert decision.untuned.weights == (1.0, 0.0)
    assert decision.rule.weights == (pytest.approx((0.5, 0.5), abs=0.1) if kept else (1.0, 0.0))


def test_a_member_of_another_scale_gets_a_temperature_of_its_own() -> None:
    (first, second), true = runs_of([2.0, 2.0], rows=3000)
    base = fit_rule(("argmax",), [first, 10 * second], true, task(start=(1.0, 0.0)), None)
    rule = fit_rule(("argmax", MEMBERS), [first, 10 * second], true, task(start=(1.0, 0.0)), base)
    assert rule.temperatures[1] / rule.temperatures[0] == pytest.approx(10, rel=0.2)
    assert rule.weights == pytest.approx((0.5, 0.5), abs=0.05)
    # independent errors: the sum of both log-odds, which is the mean of both at half the temperature, is calibrated
    assert rule.temperatures[0] == pytest.approx(calibration_temperature(first, true) / 2, rel=0.15)


def test_members_of_several_runs_stand_beside_their_heads() -> None:
    runs, true = runs_of([1.5, 1.0, 1.2, 0.0])
    start = (0.5, 0.0, 0.5, 0.0)
    decision = Decider(runs, true, np.arange(len(true)) % 4, task(start=start)).decide()
    assert [step.rung for step in decision.ladder] == [
        "argmax", "members", "prior", "thresholds", "greedy", "weights",
    ]  # fmt: skip
    assert decision.untuned.weights == start
    assert decision.rule.weights[3] < 0.05 < min(decision.rule.weights[:3])


@pytest.mark.slow
def test_standard_errors_are_over_groups_where_there_are_any() -> None:
    runs, true = runs_of([1.0, 1.0], rows=600)
    doubled = [np.repeat(run, 4, axis=0) for run in runs]  # each row four times: no more is known
    labels, group = np.repeat(true, 4), np.repeat(np.arange(600), 4)
    fold = np.repeat(np.arange(600) % 4, 4)
    alone = Decider(doubled, labels, fold, task()).decide().ladder[-1]
    grouped = Decider(doubled, labels, fold, task(), groups=group).decide().ladder[-1]
    assert grouped.cross_fitted == alone.cross_fitted
    assert grouped.standard_error > 1.5 * alone.standard_error


def test_many_classes_share_offsets_by_frequency() -> None:
    prior = np.linspace(1, 2, 1000)
    group = offset_groups(prior / prior.sum())
    assert np.bincount(group).tolist() == [10] * LARGEST_GROUPS
    assert group[-1] == 0  # the most frequent
    assert (np.diff(group) <= 0).all()
    assert offset_groups((0.1,) * 10).tolist() == list(range(10))


def test_a_rung_stands_on_those_chosen_below_it() -> None:
    assert rungs_up_to("argmax", ()) == ("argmax",)
    assert rungs_up_to("thresholds", ("argmax",)) == ("argmax", "prior", "thresholds")
    assert rungs_up_to("thresholds", ("argmax", "prior")) == ("argmax", "prior", "thresholds")
    assert rungs_up_to("weights", ("argmax", "greedy")) == ("argmax", "greedy", "weights")


def test_a_rung_without_what_it_stands_on_is_refused() -> None:
    runs, true = runs_of([1.0], rows=20)
    with pytest.raises(ValueError, match="'prior' needs the fitted rule"):
        fit_rule(("argmax", "prior"), runs, true, task(), None)
