"""Whatever finite logits a model gives: scores are numbers, labels are classes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from supcon.decision.crossfit import Decider
from supcon.decision.ladder import TuningTask
from supcon.decision.merge import merge_members
from supcon.metrics.metric import MetricName, make_metric
from supcon.settings.settings import TuneSettings
from tests.fuzz.budget import budget

METRICS: list[MetricName] = [
    *("macro_f1", "micro_f1", "weighted_f1", "accuracy", "balanced_accuracy", "log_loss", "roc_auc")
]
LARGEST = float(np.finfo(np.float32).max)
ODD = [0.0, -0.0, 1.0, -1.0, 88.0, -104.0, 745.0, -746.0, 1e9, -1e9, 1e30, -1e30, LARGEST, -LARGEST, 1e-45]


@budget(100)
@given(st.data())
def test_any_logits(data: st.DataObject) -> None:
    classes, folds, views = data.draw(st.integers(2, 4)), data.draw(st.integers(2, 3)), data.draw(st.integers(1, 2))
    rows = classes * folds * data.draw(st.integers(1, 3))
    draw = np.random.default_rng(data.draw(st.integers(0, 2**32)))
    scale = data.draw(st.sampled_from([0.0, 1.0, 30.0, 1e4, 1e38]))
    logits = (draw.uniform(-1, 1, (rows, views, classes)) * scale).astype(np.float32)
    for value in data.draw(st.lists(st.sampled_from(ODD), max_size=4)):
        logits[draw.random(logits.shape) < draw.random()] = value
    true, fold = np.arange(rows) % classes, np.arange(rows) // classes % folds
    metric = make_metric(data.draw(st.sampled_from(METRICS)), classes, np.arange(classes))
    unscored = np.array(data.draw(st.lists(st.integers(0, 3), min_size=classes, max_size=classes)), np.int64)
    task = TuningTask(metric, TuneSettings(trials=4, bootstrap=10), unscored)

    decision = Decider([logits], true, fold, task).decide()

    for step in decision.ladder:
        assert np.isfinite([step.in_sample, step.cross_fitted, step.gain, step.standard_error]).all()
    merged, exponent = merge_members([decision.rule.merge([logits]) for _ in range(folds)])
    assert np.isfinite(exponent)
    for predicted in (decision.predicted, decision.rule.predict(merged, metric)):
        if metric.of_probabilities:
            assert np.isfinite(predicted).all()
            np.testing.assert_allclose(np.exp(predicted).sum(axis=1), 1, atol=1e-9)
        else:
            assert set(predicted.tolist()) <= set(range(classes))
