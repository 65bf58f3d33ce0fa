"""A host hides the test images: the line trains and scores, and the bundle writes the submission where they are."""

import json
import shutil
from pathlib import Path

import pytest

from supcon.errors import UserError
from tests.bundle.test_bundle import RUN, run_notebook
from tests.conftest import run_stage

SAID = "no submission is written: the 12 rows to predict have no image here; `./run.sh bundle --run cross_entropy`"


@pytest.fixture
def hidden(finished: Path, tmp_path: Path) -> Path:
    """A root whose folds are trained, as if the test images had never been there."""
    root = tmp_path / "root"
    shutil.copytree(finished, root)
    shutil.rmtree(root / "submissions")
    shutil.rmtree(root / "input" / "test")
    for stage in ("predict", "tune", "ensemble"):  # what came before depends on training images alone
        run_stage(stage, root, "--force")
    return root


def test_it_is_scored_reported_and_bundled_without_a_submission(
    hidden: Path, finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not (hidden / "submissions").exists()
    scores, known = (json.loads((root / RUN / "scores.json").read_text()) for root in (hidden, finished))
    assert scores["cross_fitted"] == known["cross_fitted"]
    assert scores["private"] is None
    for stage in ("finetune", "predict", "tune", "ensemble"):
        capsys.readouterr()
        run_stage(stage, hidden)
        assert capsys.readouterr().out.strip().endswith("done already")
    run_stage("report", hidden)
    assert "There are no embeddings of test rows." in (hidden / RUN / "report.html").read_text()

    run_stage("bundle", hidden)
    shutil.copytree(hidden / RUN / "bundle", tmp_path / "bundle")
    shutil.copytree(finished / "input" / "train", tmp_path / "data" / "train")
    shutil.copy(finished / "input" / "sample_submission.csv", tmp_path / "data")
    result = run_notebook(tmp_path)  # as when it is saved: the host wants a submission of that, too
    assert result.returncode == 0, result.stderr
    assert "no row has an image here, so all get the class shares" in result.stdout
    lines = (tmp_path / "submission.csv").read_text().splitlines()
    assert lines == ["id,label", *(f"b{number:03d},red" for number in range(12))]  # the largest class
    shutil.copytree(finished / "input" / "test", tmp_path / "data" / "test")
    result = run_notebook(tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "submission.csv").read_bytes() == (finished / "submissions" / "submission.csv").read_bytes()


def test_what_needs_test_images_says_so(hidden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run_stage("ensemble", hidden, "--force")
    assert SAID in capsys.readouterr().out
    with pytest.raises(UserError, match="there is no submission to send: ./run.sh bundle packs the notebook"):
        run_stage("submit", hidden, "--message=first")
    for command in ("doctor", "pretrain"):
        with pytest.raises(UserError, match=r"--pretrain\.use_test learns from test images, which the host hides here"):
            run_stage(command, hidden, "--pretrain.use_test=true", "--run=other")


def test_a_blend_of_such_runs_is_scored_too(hidden: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(hidden / RUN, hidden / "runs" / "second")
    for stage in ("tune", "ensemble"):
        run_stage(stage, hidden, "--run=mix", "--runs", "cross_entropy", "second")
    assert "no submission is written" in capsys.readouterr().out
    for stage in ("tune", "ensemble"):  # one of them is known by its tables alone
        run_stage(stage, hidden, "--run=more", "--runs", "mix", "second")
