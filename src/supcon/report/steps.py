"""What a run's data says to do next, in plain words, the most promising first."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np

from supcon.decision.calibration import negative_log_likelihood
from supcon.report.classes import class_table
from supcon.report.embeddings import drift_verdict, fold_drift
from supcon.report.page import Missing, Point
from supcon.report.run import Run
from supcon.report.scores import views_gain
from supcon.report.training import training_logs
from supcon.run.scores import POOLED

_PAIR_SHARE, _PAIR_ERRORS = 0.1, 3  # share of all errors, and rows, that a pair has at least to be named
_COSTLY = 2.0  # times the mean cost: from there on a class is named
_RARE = 0.5  # times the median rows of a class: below that it is called rare
_RISE = 0.003  # of the held-out score in the last fifth of the epochs: above that more epochs are advised
_NLL_PART = 0.03  # of the log loss: a temperature that saves more is named


def next_steps(run: Run) -> list[Point]:
    """Return the advice that the run's data gives, each with the section that shows more."""
    lines: list[Point] = []
    for advice in _ADVICE:
        with suppress(Missing):  # the section itself says what it lacks
            lines += advice(run)
    return lines or [Point("Nothing stands out: more epochs, a larger encoder or another recipe to blend with.")]


def _labels(run: Run) -> list[Point]:
    count = len(run.label_errors.rows)
    if not count:
        return []
    line = f"Doubtful labels: {count:,}. Look at them first, wrong ones cap every score."
    return [Point(line, "Probable label errors")]


def _contradictions(run: Run) -> list[Point]:
    count = len(run.copies.contradictions)
    line = f"Images with a copy that has another label: {count:,}. One of the two is wrong."
    return [Point(line, "Near-duplicates")] if count else []


def _pairs(run: Run) -> list[Point]:
    lines, total = [], len(run.errors)
    for pair in run.pairs[:3]:
        count = len(pair.rows)
        if count >= _PAIR_ERRORS and count >= _PAIR_SHARE * total:
            first, second = run.classes[pair.first], run.classes[pair.second]
            line = f"The classes {first} and {second} are confused: {count:,} of {total:,} errors."
            lines.append(Point(line, "Confusable pairs"))
    return lines


def _costly_class(run: Run) -> list[Point]:
    table = class_table(run)
    first = table.iloc[0]
    if first["cost"] <= _COSTLY * table["cost"].mean():
        return []
    part = first["cost"] / table["cost"].sum()
    line = f"{first['support']:,} rows of {first['class']} cost {first['cost']:.4f}, {part:.0%} of all that is lost"
    if first["support"] < _RARE * table["support"].median():
        line += ": a rare class, so more images of it, or stronger --finetune.logit_adjustment, may pay"
    return [Point(f"{line}.", "Classes")]


def _odd_fold(run: Run) -> list[Point]:
    folds = {name: score for name, score in run.table.cross_fitted.items() if name != POOLED}
    sign = run.metric.sign
    worst = min(folds, key=lambda name: sign * folds[name].score)
    rest = np.mean([score.score for name, score in folds.items() if name != worst])
    behind = sign * (rest - folds[worst].score)
    if behind <= 2 * folds[worst].standard_error:
        return []
    line = f"F{worst[1:]} is {behind:.4f} behind the others, over 2 standard errors: has it a kind of image of its own?"
    return [Point(line, "Scores")]


def _epochs(run: Run) -> list[Point]:
    rises = []
    for table in training_logs(run, "finetune").values():
        if "held_out_macro_f1" in table and len(table) >= 5:
            watched = table["held_out_macro_f1"].to_numpy()
            last = max(1, len(watched) // 5)
            rises.append(watched[-last:].mean() - watched[-2 * last : -last].mean())
    if not rises or np.mean(rises) <= _RISE:
        return []
    line = f"The watched score still rose by {np.mean(rises):.4f} at the end: more --finetune.epochs may pay."
    return [Point(line, "Learning curves")]


def _views(run: Run) -> list[Point]:
    gain = views_gain(run)
    if run.blended:  # its members have views
        return []
    if gain is None:
        line = "Only the plain view is predicted: --predict.views 4 and declared invariances (augment) add more."
    elif gain.value < -gain.standard_error:
        line = f"More views than the plain one cost {-gain.value:.4f}: try --predict.views 1."
    else:
        return []
    return [Point(line, "What each step added")]


def _probabilities(run: Run) -> list[Point]:
    before, after = (
        negative_log_likelihood(predicted, run.true) for predicted in (run.log_probabilities, run.calibrated)
    )
    if before - after <= _NLL_PART * before:
        return []
    way = "too sure" if np.mean(list(run.temperatures.values())) > 1 else "less sure than it could be"
    line = f"The model is {way}: its temperature takes the log loss from {before:.4f} to {after:.4f}."
    return [Point(line, "Calibration")]


def _test_rows(run: Run) -> list[Point]:
    drift = fold_drift(run, run.folds[0])
    if drift_verdict(drift.auc) == drift_verdict(0.5):
        return []
    line = f"Test rows are told from training rows with AUC {drift.auc:.2f}: {drift_verdict(drift.auc)}"
    return [Point(line, "Train and test")]


def _known_test_rows(run: Run) -> list[Point]:
    count = len(run.copies.test_in_train)
    line = f"Test images that are copies of training images: {count:,}. Scores of such rows say little."
    return [Point(line, "Near-duplicates")] if count else []


_ADVICE: tuple[Callable[[Run], list[Point]], ...] = (
    _labels, _contradictions, _pairs, _costly_class, _odd_fold, _epochs, _views, _probabilities, _test_rows,
    _known_test_rows,
)  # fmt: skip
