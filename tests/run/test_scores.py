"""The table at the end of a run."""

import json
from pathlib import Path

import numpy as np
import pytest

from supcon.run.scores import Score, class_shares


def test_the_table_holds_folds_and_pooled_with_intervals_around_the_score(finished: Path) -> None:
    scores = json.loads((finished / "runs" / "cross_entropy" / "scores.json").read_text())
    for kind in ("raw", "cross_fitted"):
        assert list(scores[kind]) == ["fold 0", "fold 1", "fold 2", "pooled"]
        for score in scores[kind].values():
            assert score["low"] <= score["score"] <= score["high"]
    private = scores["private"]
    assert private["single_mean"] == pytest.approx(np.mean(private["single_folds"]))
    assert len(private["single_folds"]) == 3


def test_the_ledger_holds_the_scores_and_the_hash_of_the_file(finished: Path) -> None:
    import hashlib

    import pandas as pd

    row = pd.read_csv(finished / "submissions" / "ledger.csv", dtype=str).iloc[0]
    content = (finished / "submissions" / row["file"]).read_bytes()
    assert row["sha256"] == hashlib.sha256(content).hexdigest()
    assert content == (finished / "submissions" / "submission.csv").read_bytes()
    decision = json.loads((finished / "runs" / "cross_entropy" / "decision.json").read_text())
    assert float(row["cross_fitted"]) == pytest.approx(decision["cross_fitted"], abs=1e-5)
    assert row["run"] == "cross_entropy"


def test_a_score_that_rounds_to_nothing_has_no_sign() -> None:
    assert str(Score(-4e-17, -1e-5, 0.1, 0.01)) == "0.0000 [0.0000, 0.1000]"
    assert str(Score(-0.1, -0.2, 0.1, 0.01)) == "-0.1000 [-0.2000, 0.1000]"


def test_class_shares_show_what_the_decision_moved() -> None:
    shares = class_shares(["a", "b"], np.array([0, 0, 0, 1]), np.array([0, 0, 1, 1]))
    assert shares == {"a": (0.75, 0.5), "b": (0.25, 0.5)}
