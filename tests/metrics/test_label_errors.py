"""Planted label errors are errors, the surest first."""

import warnings

import numpy as np

from supcon.metrics.label_errors import label_errors


def planted(rows: int, classes: int, wrong: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    true = draw.integers(0, classes, rows)
    bad = draw.choice(rows, wrong, replace=False)
    given = true.copy()
    given[bad] = (true[bad] + 1 + draw.integers(0, classes - 1, wrong)) % classes
    logits = draw.normal(size=(rows, classes))
    logits[np.arange(rows), true] += 6
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True)), given, true, bad


def test_planted_errors_are_found_with_the_class_that_they_are_of() -> None:
    log_probabilities, given, true, bad = planted(1000, 8, 40)
    errors = label_errors(log_probabilities, given)
    assert set(errors.rows) <= set(bad)
    assert len(errors.rows) > 30
    assert (errors.likely == true[errors.rows]).mean() > 0.95
    np.testing.assert_allclose(errors.self_confidence, np.exp(log_probabilities)[errors.rows, given[errors.rows]])
    assert (np.diff(errors.self_confidence) >= 0).all()


def test_right_labels_are_left_alone() -> None:
    log_probabilities, given, _, _ = planted(500, 5, 0)
    errors = label_errors(log_probabilities, given)
    assert len(errors.rows) == len(errors.likely) == len(errors.self_confidence) == 0


def test_classes_with_few_or_no_rows_are_no_trouble() -> None:
    log_probabilities, given, _, bad = planted(300, 6, 10)
    kept = ~np.isin(given, [2, 4])
    kept[np.flatnonzero(given == 4)[0]] = True  # one row of class 4, none of class 2
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        errors = label_errors(log_probabilities[kept], given[kept])
    assert set(np.flatnonzero(kept)[errors.rows]) <= {*bad, *np.flatnonzero(given == 4)}
