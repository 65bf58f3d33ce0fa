"""What the host asks for shapes the whole line: probabilities, its metric, classes too rare for the folds."""

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import cohen_kappa_score, f1_score, roc_auc_score

from supcon.errors import UserError
from tests.conftest import run_all, run_stage, write_competition

SHORT = ["--pretrain.epochs=0", "--finetune.epochs=4"]


def ask_for_probabilities(folder: Path) -> None:
    sample = pd.read_csv(folder / "sample_submission.csv", dtype=str, keep_default_na=False)
    table = pd.DataFrame({"id": sample["id"], "red": "0.2", "NA": "0.3", "001": "0.5"})
    table.to_csv(folder / "sample_submission.csv", index=False)


def test_a_host_that_scores_probabilities_gets_them_calibrated(root: Path) -> None:
    ask_for_probabilities(root / "input")
    run_all(root, *SHORT, "--tune.metric=log_loss")
    table = pd.read_csv(root / "submissions" / "submission.csv", dtype={"id": str})
    assert list(table.columns) == ["id", "red", "NA", "001"]
    np.testing.assert_allclose(table[["red", "NA", "001"]].sum(axis=1), 1, atol=1e-9)
    run = root / "runs" / "cross_entropy"
    decision, scores = (json.loads((run / name).read_text()) for name in ("decision.json", "scores.json"))
    assert decision["metric"] == "log_loss"
    assert [rung["rung"] for rung in decision["ladder"]] == ["raw", "temperature", "clipping"]
    assert scores["cross_fitted"]["pooled"]["score"] == pytest.approx(decision["cross_fitted"])
    solution = pd.read_csv(root / "input" / "solution.csv", dtype=str, keep_default_na=False).set_index("id")["label"]
    chosen = table.set_index("id").loc[solution.index].to_numpy(float)
    loss = -np.log(chosen[np.arange(len(chosen)), [list(table.columns[1:]).index(label) for label in solution]]).mean()
    assert scores["private"]["ensemble"]["score"] == pytest.approx(loss, abs=1e-6)


def test_a_label_metric_and_probability_columns_agree_on_the_label(root: Path) -> None:
    ask_for_probabilities(root / "input")
    run_all(root, *SHORT, "--tune.metric=balanced_accuracy")
    scores = json.loads((root / "runs" / "cross_entropy" / "scores.json").read_text())
    table = pd.read_csv(root / "submissions" / "submission.csv", dtype={"id": str}).set_index("id")
    solution = pd.read_csv(root / "input" / "solution.csv", dtype=str, keep_default_na=False).set_index("id")["label"]
    right = table.idxmax(axis=1).loc[solution.index] == solution
    assert scores["private"]["ensemble"]["score"] == pytest.approx(right.groupby(solution).mean().mean())


def test_a_host_that_asks_for_one_classs_probability_gets_it_scored_by_the_area(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_competition(tmp_path / "input", ["0"] * 30 + ["1"] * 15)
    sample = tmp_path / "input" / "sample_submission.csv"
    sample.write_text("id,has_cactus\n" + "".join(f"b{number:03d},0.5\n" for number in range(12)))
    (tmp_path / "input" / "train.csv").write_text(
        (tmp_path / "input" / "train.csv").read_text().replace("id,label", "id,has_cactus")
    )
    run_all(tmp_path, *SHORT)
    decision, scores = (
        json.loads((tmp_path / "runs" / "cross_entropy" / name).read_text())
        for name in ("decision.json", "scores.json")
    )
    assert [rung["rung"] for rung in decision["ladder"]] == ["raw", "temperature"]
    assert (decision["metric"], scores["metric"]) == ("roc_auc", "ROC AUC")
    table = pd.read_csv(tmp_path / "submissions" / "submission.csv", index_col="id")
    solution = pd.read_csv(tmp_path / "input" / "solution.csv", index_col="id")["label"]
    area = roc_auc_score(solution.loc[table.index], table["has_cactus"])
    assert scores["private"]["ensemble"]["score"] == pytest.approx(area)
    assert area > 0.9  # and not 1 - area
    run_stage("check", tmp_path, str(tmp_path / "submissions" / "submission.csv"))
    assert "12 rows, the probability of '1' a row" in capsys.readouterr().out
    with pytest.raises(UserError, match=r"--tune\.metric accuracy scores labels, but .* choose roc_auc or log_loss"):
        run_stage("finetune", tmp_path, *SHORT, "--tune.metric=accuracy")


def test_a_host_that_asks_for_several_labels_in_their_order_gets_their_order_scored(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sample = root / "input" / "sample_submission.csv"
    sample.write_text("id,label\n" + "".join(f"b{number:03d},red NA\n" for number in range(12)))
    run_stage("doctor", root, "--quick")
    assert "macro_f1 scores the first of the 2 labels of a row: --tune.metric map_k scores" in capsys.readouterr().out
    run_stage("doctor", root, "--quick", "--tune.metric=map_k")
    assert not re.search("--tune|first of the", capsys.readouterr().out)
    run_all(root, *SHORT, "--tune.metric=map_k", "--tune.k=5")
    unused = "--tune.k 5 does not count: sample_submission.csv asks for 2 labels a row, and so many are scored"
    assert capsys.readouterr().out.count(unused) == 2  # when the folds are made, and when it is tuned
    scores = json.loads((root / "runs" / "cross_entropy" / "scores.json").read_text())
    assert scores["metric"] == "MAP@2"  # as the sample shows, whatever --tune.k says
    table = pd.read_csv(root / "submissions" / "submission.csv", index_col="id", keep_default_na=False)["label"]
    solution = pd.read_csv(root / "input" / "solution.csv", index_col="id", keep_default_na=False)["label"].to_dict()
    rows = [(cell.split(), solution[name]) for name, cell in table.to_dict().items()]
    places = [labels.index(true) + 1 if true in labels else 0 for labels, true in rows]
    expected = np.mean([1 / place if place else 0 for place in places])
    assert scores["private"]["ensemble"]["score"] == pytest.approx(expected)
    with pytest.raises(UserError, match="tune.k|tune.metric map_k -> f_beta"):
        run_stage("tune", root, *SHORT, "--tune.metric=f_beta")


def test_kappa_is_of_classes_on_a_scale(tmp_path: Path) -> None:
    write_competition(tmp_path / "input", ["10"] * 30 + ["2"] * 20 + ["0"] * 10)  # no order of names
    run_all(tmp_path, *SHORT, "--tune.metric=kappa")
    scores = json.loads((tmp_path / "runs" / "cross_entropy" / "scores.json").read_text())
    assert scores["metric"] == "quadratic kappa"
    table = pd.read_csv(tmp_path / "submissions" / "submission.csv", index_col="id")["label"]
    solution = pd.read_csv(tmp_path / "input" / "solution.csv", index_col="id")["label"].loc[table.index]
    expected = cohen_kappa_score(solution, table, labels=list(range(11)), weights="quadratic")
    assert scores["private"]["ensemble"]["score"] == pytest.approx(expected)


def test_metrics_that_do_not_fit_the_classes_or_the_form_are_refused(root: Path) -> None:
    run_stage("make_folds", root)
    with pytest.raises(
        UserError, match=r"kappa needs classes called by numbers; '\w+' is no number: call the classes by"
    ):
        run_stage("finetune", root, *SHORT, "--tune.metric=kappa")
    with pytest.raises(UserError, match=r"map_k scores the order of .* asks for one: write as many into its cells as"):
        run_stage("finetune", root, *SHORT, "--tune.metric=map_k")
    with pytest.raises(UserError, match=r"asks for one: leave out --data\.submit label"):
        run_stage("finetune", root, *SHORT, "--tune.metric=map_k", "--data.submit=label")


def test_log_loss_of_labels_is_refused(root: Path) -> None:
    run_all_but_tune(root)
    with pytest.raises(UserError, match=r"--tune\.metric log_loss scores probabilities, but .* asks for labels"):
        run_stage("tune", root, *SHORT, "--tune.metric=log_loss")


def run_all_but_tune(root: Path) -> None:
    for name in ("make_folds", "finetune", "predict"):
        run_stage(name, root, *SHORT)


def test_classes_rarer_than_the_folds_are_trained_on_and_never_scored(tmp_path: Path) -> None:
    write_competition(tmp_path / "input", ["red"] * 30 + ["NA"] * 20 + ["rare"] * 2)
    with pytest.raises(UserError, match="class 'rare' has 2 training rows, fewer than the 3 folds"):
        run_stage("make_folds", tmp_path)
    run_all(tmp_path, *SHORT, "--data.rare_classes=train_only")
    folds = pd.read_csv(tmp_path / "folds" / "folds.csv", keep_default_na=False)
    assert (folds["fold"][folds["label"] == "rare"] == -1).all()
    run = tmp_path / "runs" / "cross_entropy"
    oof = pd.read_csv(run / "oof.csv", index_col="id")
    assert len(oof) == 50
    assert "rare" in oof.columns  # it may be predicted
    scores = json.loads((run / "scores.json").read_text())
    true = folds.set_index("id")["label"].loc[oof.index]
    expected = f1_score(true, oof.idxmax(axis=1), labels=["NA", "red"], average="macro")  # not three with one at 0
    assert scores["raw"]["pooled"]["score"] == pytest.approx(expected)
