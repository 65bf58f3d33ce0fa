"""What a run's data says to do next, in plain words, the most promising first."""

from collections.abc import Callable

import numpy as np

from supcon.decision.calibration import negative_log_likelihood
from supcon.report.classes import class_table
from supcon.report.embeddings import drift_verdict, fold_drift
from supcon.report.run import Missing, Run
from supcon.report.scores import views_gain
from supcon.report.training import training_logs
from supcon.scores import POOLED

_PAIR_SHARE = 0.1  # of all errors, and at least
_PAIR_ERRORS = 3  # rows, for a pair to be named
_DEAR = 2.0  # times the mean cost, for a class to be named
_RISE = 0.003  # of the held-out score over the last fifth of the epochs, for more epochs to be worth a try
_NLL_PART = 0.03  # of the log loss that a temperature saves, for it to be named


def next_steps(run: Run) -> list[str]:
    """Return the advice that the run's data gives; each line names its section."""
    lines = [line for advice in _ADVICE for line in advice(run)]
    return lines or ["Nothing stands out: more epochs, a larger encoder or another recipe to blend with."]


def _labels(run: Run) -> list[str]:
    found = len(run.label_errors.rows)
    if not found:
        return []
    return [f"{found:,} labels are probably wrong (Probable label errors): look at them first, they cap every score."]


def _contradictions(run: Run) -> list[str]:
    found = len(run.copies.contradictions)
    return [f"{found:,} copies of an image have two labels (Near-duplicates): one of each is wrong."] if found else []


def _pairs(run: Run) -> list[str]:
    lines, total = [], len(run.errors)
    for pair in run.pairs[:3]:
        count = len(pair.rows)
        if count >= _PAIR_ERRORS and count >= _PAIR_SHARE * total:
            first, second = run.classes[pair.first], run.classes[pair.second]
            lines.append(f"{first} and {second} are confused: {count:,} of {total:,} errors (Confusable pairs).")
    return lines


def _dear_class(run: Run) -> list[str]:
    table = class_table(run)
    first = table.iloc[0]
    if first["cost"] <= _DEAR * table["cost"].mean():
        return []
    part = first["cost"] / table["cost"].sum()
    line = f"{first['class']} costs {first['cost']:.4f}, {part:.0%} of what is lost, by {first['support']:,} rows"
    if first["support"] < table["support"].median():
        return [f"{line}: it is a rare class, so more images of it, or stronger --finetune.logit_adjustment, may pay."]
    return [f"{line} (Classes)."]


def _odd_fold(run: Run) -> list[str]:
    folds = {name: score for name, score in run.table.cross_fitted.items() if name != POOLED}
    sign = run.metric.sign
    worst = min(folds, key=lambda name: sign * folds[name].score)
    rest = np.mean([score.score for name, score in folds.items() if name != worst])
    behind = sign * (rest - folds[worst].score)
    if behind <= 2 * folds[worst].standard_error:
        return []
    return [f"{worst} is {behind:.4f} behind the others, over 2 standard errors: look at its mistakes for what is new."]


def _epochs(run: Run) -> list[str]:
    rises = []
    for table in training_logs(run, "finetune").values():
        if "held_out_macro_f1" in table and len(table) >= 5:
            watched = table["held_out_macro_f1"].to_numpy()
            last = max(1, len(watched) // 5)
            rises.append(watched[-last:].mean() - watched[-2 * last : -last].mean())
    if not rises or np.mean(rises) <= _RISE:
        return []
    return [
        f"The watched score still rose by {np.mean(rises):.4f} at the end of training (Learning curves): more"
        " --finetune.epochs may pay."
    ]


def _views(run: Run) -> list[str]:
    gain = views_gain(run)
    if gain is None:
        return ["Only the plain view is predicted: --predict.views 4 and declared invariances (augment) add more."]
    if gain.value < -gain.standard_error:
        return [f"{gain.name} cost {-gain.value:.4f} (What each step added): try --predict.views 1."]
    return []


def _probabilities(run: Run) -> list[str]:
    before, after = (negative_log_likelihood(one, run.true) for one in (run.log_probabilities, run.calibrated))
    if before - after <= _NLL_PART * before:
        return []
    way = "too sure" if np.mean(list(run.temperatures.values())) > 1 else "less sure than it could be"
    return [
        f"The model is {way}: its temperature takes the log loss from {before:.4f} to {after:.4f} (Calibration); the"
        " metric log_loss needs it, labels hardly."
    ]


def _test_rows(run: Run) -> list[str]:
    lines = []
    found = fold_drift(run, run.folds[0])
    if (verdict := drift_verdict(found.auc)) != drift_verdict(0.5):
        lines.append(f"Test rows are told from training rows with AUC {found.auc:.2f} (Train and test): {verdict}")
    return lines


def _known_test_rows(run: Run) -> list[str]:
    found = len(run.copies.test_in_train)
    return [f"{found:,} test images are copies of training images (Near-duplicates): they score too well."] * (
        found > 0
    )


def _optional(advice: Callable[[Run], list[str]]) -> Callable[[Run], list[str]]:
    """Return the advice, none where its data is missing."""

    def advise(run: Run) -> list[str]:
        try:
            return advice(run)
        except Missing:
            return []

    return advise


_ADVICE = [
    _labels, _contradictions, _pairs, _dear_class, _odd_fold, _optional(_epochs), _views, _probabilities,
    _optional(_test_rows), _known_test_rows,
]  # fmt: skip
