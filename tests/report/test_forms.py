"""Pages of a competition that scores probabilities, has rows in groups, and a class too rare to be scored."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from supcon.commands import compare
from tests.conftest import run_all, write_competition
from tests.report.conftest import page_of, run_of
from tests.report.test_report import Parts

FLAGS = ["--pretrain.epochs=0", "--tune.metric=log_loss", "--data.rare_classes=train_only"]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("forms")
    write_competition(folder / "input", ["red"] * 30 + ["NA"] * 20 + ["rare"] * 2)
    sample, train = (folder / "input" / f"{name}.csv" for name in ("sample_submission", "train"))
    ids = pd.read_csv(sample, dtype=str)["id"]
    pd.DataFrame({"id": ids, "red": "0.2", "NA": "0.3", "rare": "0.5"}).to_csv(sample, index=False)
    rows = pd.read_csv(train, dtype=str, keep_default_na=False)
    rows.assign(site=[f"site {number // 2}" for number in range(len(rows))]).to_csv(train, index=False)
    run_all(folder, *FLAGS, "--data.group_column=site", "--data.label_column=label")
    return folder


def test_a_report_speaks_of_the_metric_of_groups_and_of_scored_classes_alone(root: Path) -> None:
    sections = Parts(page_of(root)).sections
    run = run_of(root)
    assert (
        f"cross-fitted log loss: what a single fold's model is worth on new rows {run.score(run.predicted):.4f}"
        in (sections["Summary"])
    )
    assert "clipping" in sections["What each step added"]
    assert "all 2 50" in sections["Classes"]  # the rare class has no rows to score
    assert run.unit == "groups of rows"


def test_the_better_run_has_the_lower_log_loss(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(root / "runs" / "cross_entropy", root / "runs" / "short")
    run_all(root, *FLAGS, "--data.group_column=site", "--data.label_column=label", "--finetune.epochs=1", "--run=worse")
    compare.main([f"--root={root}", "worse", "cross_entropy", "short"])
    lines = capsys.readouterr().out.splitlines()
    table = {line.split()[0]: line for line in lines[lines.index(next(x for x in lines if x.startswith("run "))) :]}
    assert "log loss [95 %]" in table["run"]
    assert run_of(root, "worse").score(run_of(root, "worse").predicted) > run_of(root).score(run_of(root).predicted)
    assert float(table["cross_entropy"].split()[-1]) > 0.9
    assert "+" in table["cross_entropy"].split("]")[1]  # better is above 0
    assert table["cross_entropy"].split()[1:] == table["short"].split()[1:]
    sections = Parts((root / "runs" / "compare-worse-cross_entropy-short.html").read_text()).sections
    assert "cross_entropy is better than worse with probability" in sections["Paired tests"]
    assert "groups of rows" in sections["Paired tests"]
