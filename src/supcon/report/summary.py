"""The first section: what the run is worth, what costs most, and what its data says to do next, in plain words."""

from collections.abc import Callable, Iterator
from contextlib import suppress

import numpy as np

from supcon.decision.calibration import negative_log_likelihood
from supcon.report.classes import class_table
from supcon.report.embeddings import drift_verdict, fold_drift
from supcon.report.page import Block, Missing, Point, Points, Table, Text
from supcon.report.run import Run
from supcon.report.scores import views_gain
from supcon.report.training import training_logs
from supcon.run.scores import POOLED, Score

_COSTLIEST = 5
_PAIR_SHARE, _PAIR_ERRORS = 0.1, 3  # share of all errors, and rows, that a pair has at least to be named
_COSTLY = 2.0  # times the mean cost: from there on a class is named
_RARE = 0.5  # times the median rows of a class: below that it is called rare
_RISE = 0.003  # of the held-out score in the last fifth of the epochs: above that more epochs are advised
_NLL_PART = 0.03  # of the log loss: a temperature that saves more is named


def summary(run: Run) -> list[Block]:
    """Say it in a few lines."""
    score, raw = run.table.cross_fitted[POOLED], run.table.raw[POOLED]
    rows = [
        [f"cross-fitted {run.metric.title}: what a single fold's model is worth on new rows", str(score)],
        ["the same, nothing tuned", str(raw)],
    ]
    if private := run.scores.get("private"):
        rows.append(["private labels, all folds together", str(Score(**private["ensemble"]))])
    costliest = [
        [str(row["class"]), f"{row['support']:,}", f"{row['f1']:.3f}", f"{row['cost']:.4f}"]
        for row in class_table(run).head(_COSTLIEST).to_dict("records")
        if row["cost"] > 0
    ]
    blocks: list[Block] = [Table(["out of fold", "score [95 %]"], rows)]
    if run.is_stale:
        blocks.append(Text("The submission was made by another decision: `ensemble --force` makes it anew."))
    if costliest:
        blocks.append(Table(["class", "rows", "F1", "costs"], costliest, "What costs most of macro-F1"))
    return [*blocks, Text("What to do next:"), Points(next_steps(run))]


def next_steps(run: Run) -> list[Point]:
    """Return the advice that the run's data gives, each with the section that shows more; the most promising first."""
    points: list[Point] = []
    for advice, section in _ADVICE:
        with suppress(Missing):  # the section itself says what it lacks
            points += [Point(line, section) for line in advice(run)]
    return points or [Point("Nothing stands out: more epochs, a larger encoder or another recipe to blend with.")]


def _labels(run: Run) -> Iterator[str]:
    if count := len(run.label_errors.rows):
        yield f"Doubtful labels: {count:,}. Look at them first, wrong ones cap every score."


def _contradictions(run: Run) -> Iterator[str]:
    if count := len(run.copies.contradictions):
        yield f"Images with a copy that has another label: {count:,}. One of the two is wrong."


def _pairs(run: Run) -> Iterator[str]:
    total = len(run.errors)
    for pair in run.pairs[:3]:
        count = len(pair.rows)
        if count >= _PAIR_ERRORS and count >= _PAIR_SHARE * total:
            first, second = run.classes[pair.first], run.classes[pair.second]
            yield f"The classes {first} and {second} are confused: {count:,} of {total:,} errors."


def _costly_class(run: Run) -> Iterator[str]:
    table = class_table(run)
    first = table.iloc[0]
    if first["cost"] > _COSTLY * table["cost"].mean():
        part = first["cost"] / table["cost"].sum()
        line = f"{first['support']:,} rows of {first['class']} cost {first['cost']:.4f}, {part:.0%} of all that is lost"
        if first["support"] < _RARE * table["support"].median():
            line += ": a rare class, so more images of it, or stronger --finetune.logit_adjustment, may pay"
        yield f"{line}."


def _odd_fold(run: Run) -> Iterator[str]:
    folds = {name: score for name, score in run.table.cross_fitted.items() if name != POOLED}
    sign = run.metric.sign
    worst = min(folds, key=lambda name: sign * folds[name].score)
    rest = np.mean([score.score for name, score in folds.items() if name != worst])
    behind = sign * (rest - folds[worst].score)
    if behind > 2 * folds[worst].standard_error:
        where = f"F{worst[1:]} is {behind:.4f} behind the others"
        yield f"{where}, over 2 standard errors: has it a kind of image of its own?"


def _epochs(run: Run) -> Iterator[str]:
    rises = []
    for table in training_logs(run, "finetune").values():
        if "held_out_macro_f1" in table and len(table) >= 5:
            watched = table["held_out_macro_f1"].to_numpy()
            last = max(1, len(watched) // 5)
            rises.append(watched[-last:].mean() - watched[-2 * last : -last].mean())
    if rises and np.mean(rises) > _RISE:
        yield f"The watched score still rose by {np.mean(rises):.4f} at the end: more --finetune.epochs may pay."


def _views(run: Run) -> Iterator[str]:
    gain = None if run.blended else views_gain(run)
    if gain and gain.value < -gain.standard_error:
        yield f"More views than the plain one cost {-gain.value:.4f}: try --predict.views 1."
    elif not gain and not run.blended:  # a blend's members have views
        yield "Only the plain view is predicted: --predict.views 4 and declared invariances (augment) add more."


def _probabilities(run: Run) -> Iterator[str]:
    before, after = (
        negative_log_likelihood(predicted, run.true) for predicted in (run.log_probabilities, run.calibrated)
    )
    if before - after > _NLL_PART * before:
        way = "too sure" if np.mean(list(run.temperatures.values())) > 1 else "less sure than it could be"
        yield f"The model is {way}: its temperature takes the log loss from {before:.4f} to {after:.4f}."


def _test_rows(run: Run) -> Iterator[str]:
    auc = fold_drift(run, run.folds[0]).auc
    if drift_verdict(auc) != drift_verdict(0.5):
        yield f"Test rows are told from training rows with AUC {auc:.2f}: {drift_verdict(auc)}"


def _known_test_rows(run: Run) -> Iterator[str]:
    if count := len(run.copies.test_in_train):
        yield f"Test images that are copies of training images: {count:,}. Scores of such rows say little."


_ADVICE: tuple[tuple[Callable[[Run], Iterator[str]], str], ...] = (
    (_labels, "Probable label errors"),
    (_contradictions, "Near-duplicates"),
    (_pairs, "Confusable pairs"),
    (_costly_class, "Classes"),
    (_odd_fold, "Scores"),
    (_epochs, "Learning curves"),
    (_views, "What each step added"),
    (_probabilities, "Calibration"),
    (_test_rows, "Train and test"),
    (_known_test_rows, "Near-duplicates"),
)
