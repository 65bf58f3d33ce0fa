"""Where not all classes are kept, every stage works on those that are."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from supcon.storage.files import read_json, read_npz
from tests.bundle.test_bundle import unpack
from tests.conftest import run_stage

RUN = Path("runs/cross_entropy")


@pytest.fixture
def many(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The finished run's models, predicted again where three classes are too many: two are kept."""
    monkeypatch.setattr("supcon.metrics.top_k.LARGEST_DENSE", 2)
    monkeypatch.setattr("supcon.metrics.top_k.KEPT", 2)
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    (root / RUN / "oof.csv").unlink()
    (root / RUN / "test.csv").unlink()
    for stage in ("predict", "tune", "ensemble"):
        run_stage(stage, root, "--force")
    return root


def test_predictions_decisions_and_submissions_are_made_of_the_kept_classes(
    many: Path, finished: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = (read_npz(root / RUN / "fold0" / "oof.npz") for root in (many, finished))
    assert ours["top"].shape == (len(ours["ids"]), 2)
    assert ours["logits"].shape == (*theirs["logits"].shape[:2], 2)
    assert ours["prototype_rest"].shape == ours["rest"].shape
    exact = np.logaddexp(np.logaddexp.reduce(ours["logits"], axis=2), ours["rest"])
    np.testing.assert_allclose(exact, np.logaddexp.reduce(theirs["logits"], axis=2), rtol=1e-4)
    assert not (many / RUN / "oof.csv").exists()
    ladder = [rung["rung"] for rung in read_json(many / RUN / "decision.json")["ladder"]]
    assert ladder == ["argmax", "prior"]
    before, after = (read_json(root / RUN / "scores.json")["raw"]["pooled"]["score"] for root in (finished, many))
    assert after == pytest.approx(before, abs=0.02)
    run_stage("ensemble", many)
    assert "done already" in capsys.readouterr().out


def test_runs_are_blended_by_files_of_the_same_form_and_blends_again(many: Path) -> None:
    shutil.copytree(many / RUN, many / "runs" / "other")
    for name, runs in (("mix", ["cross_entropy", "other"]), ("again", ["mix", "cross_entropy"])):
        for stage in ("tune", "ensemble"):
            run_stage(stage, many, f"--run={name}", "--runs", *runs)
    content = read_npz(many / "runs" / "mix" / "oof.npz")
    assert content["logits"].shape == (60, 1, 2)
    total = np.exp(content["logits"]).sum(axis=2) + np.exp(content["rest"])
    np.testing.assert_allclose(total, 1, rtol=1e-4)
    assert len(pd.read_csv(many / "submissions" / "submission.csv")) == 12


def test_a_bundle_predicts_the_same_submission_and_a_report_says_what_it_lacks(many: Path, tmp_path: Path) -> None:
    from supcon.bundle.infer import predict_submission
    from supcon.bundle.manifest import read_bundle
    from supcon.commands import bundle, report

    flags = [f"--root={many}", "--config=configs/cross_entropy.yaml"]
    bundle.main(flags)
    folder = unpack(many, tmp_path / "offline")
    predict_submission(read_bundle(folder), folder.parent / "data", tmp_path / "submission.csv")
    assert (tmp_path / "submission.csv").read_bytes() == (many / "submissions" / "submission.csv").read_bytes()
    report.main(flags)
    assert "not all probabilities are kept" in (many / RUN / "report.html").read_text()
