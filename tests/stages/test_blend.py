"""Runs are blended into one whose score is as honest as theirs; what does not belong is refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from supcon.decision.merge import log_softmax, merge_members, merge_views
from supcon.errors import UserError
from supcon.metrics.counts import macro_f1
from supcon.run.experiment import load_experiment
from supcon.run.runs import read_out_of_fold
from supcon.settings import parse
from supcon.storage.files import read_npz, write_npz
from tests.conftest import REPOSITORY, TINY, accept_changes, run_stage

FOLDS = range(3)


@pytest.fixture(scope="module")
def several(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the finished run `a`, a run `b` that differs in every fold, and a teammate's folder `mate`."""
    root = tmp_path_factory.mktemp("several")
    shutil.copytree(finished, root, dirs_exist_ok=True)
    (root / "runs" / "cross_entropy").rename(root / "runs" / "a")
    run_stage("pretrain", root, "--run=b", "--train.seed=1")
    for stage in ("finetune", "predict"):
        run_stage(stage, root, "--run=b")
    mate = root / "mate"
    mate.mkdir()
    for name in ("oof.csv", "test.csv"):
        table = pd.read_csv(root / "runs" / "b" / name, dtype={"id": str})
        table.sample(frac=1, random_state=0).iloc[:, ::-1].to_csv(mate / name, index=False)  # rows and columns shuffled
    return root


@pytest.fixture
def own(several: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    shutil.copytree(several, tmp_path, dirs_exist_ok=True)
    return tmp_path


def blend(root: Path, *runs: str, name: str = "mix") -> Path:
    for stage in ("tune", "ensemble"):
        run_stage(stage, root, f"--run={name}", "--runs", *runs)
    return root / "runs" / name


def test_equal_weights_are_the_mean_of_the_runs_log_probabilities_fold_by_fold(own: Path) -> None:
    mix = blend(own, "a", "b")
    decision = json.loads((mix / "decision.json").read_text())
    assert [rung["rung"] for rung in decision["ladder"]] == ["argmax", "prior", "thresholds", "greedy", "weights"]
    rule = decision["rule"]
    assert rule["weights"].keys() == {"a", "b"}
    assert sum(rule["weights"].values()) == pytest.approx(1)
    members = []
    for fold in FOLDS:
        logits = {run: read_npz(own / "runs" / run / f"fold{fold}" / "test.npz")["logits"] for run in ("a", "b")}
        parts = [rule["weights"][run] * merge_views(each, rule["temperatures"][run]) for run, each in logits.items()]
        members.append(log_softmax(np.sum(parts, axis=0)))
    expected, _ = merge_members(members)
    found = pd.read_csv(mix / "test.csv", dtype={"id": str})
    np.testing.assert_allclose(found[["001", "NA", "red"]].to_numpy(), np.exp(expected), atol=1e-6)
    assert (own / "submissions" / "submission.csv").read_text().startswith("id,label\n")


def test_the_printed_score_is_that_of_the_cross_fitted_labels(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mix = blend(own, "a", "b")
    said = capsys.readouterr().out
    assert "run a alone, untuned: out-of-fold macro-F1" in said
    assert "run b alone, untuned: out-of-fold macro-F1" in said
    decision = json.loads((mix / "decision.json").read_text())
    truth = pd.read_csv(own / "input" / "train.csv", dtype=str, keep_default_na=False).set_index("id")["label"]
    names = ["001", "NA", "red"]
    given = pd.read_csv(mix / "cross_fitted.csv", dtype=str, keep_default_na=False)
    true = np.array([names.index(truth[row]) for row in given["id"]])
    labels = np.array([names.index(label) for label in given["label"]])
    assert decision["cross_fitted"] == pytest.approx(macro_f1(true, labels, 3))
    assert f"cross-fitted macro-F1 {decision['cross_fitted']:.4f}" in said


def test_a_blend_can_be_blended_and_its_tables_join_by_id(own: Path) -> None:
    mix = blend(own, "a", "b")
    flags = [*TINY, "--config", str(REPOSITORY / "configs/cross_entropy.yaml")]
    experiment = load_experiment(parse("", ["--root", str(own), "--run=mix", *flags]))
    assert experiment.settings.tune.runs == ["a", "b"]
    logits = np.asarray(read_out_of_fold(experiment))
    table = pd.read_csv(mix / "oof.csv", dtype={"id": str}).set_index("id")
    ids = experiment.split.scored_ids
    np.testing.assert_allclose(np.exp(logits[:, 0]), table.loc[ids].to_numpy(), atol=1e-6)
    assert (blend(own, "mix", "a", name="again") / "decision.json").exists()


def test_a_teammates_tables_are_joined_by_id_and_class(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    both = blend(own, "a", "b", name="runs")
    tables = blend(own, "a", str(own / "mate"), name="tables")
    assert "no folds.csv beside its oof.csv, so its folds are taken on trust" in capsys.readouterr().out
    raw = [json.loads((folder / "decision.json").read_text())["raw"] for folder in (both, tables)]
    assert raw[0] == pytest.approx(raw[1])
    shutil.copy(own / "folds" / "folds.csv", own / "mate")
    capsys.readouterr()
    blend(own, "a", str(own / "mate"), name="checked")
    assert "on trust" not in capsys.readouterr().out


def test_the_second_call_finds_it_done_and_a_changed_run_is_noticed(
    own: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    blend(own, "a", str(own / "mate"))
    capsys.readouterr()
    for stage in ("tune", "ensemble"):
        run_stage(stage, own, "--run=mix")  # which runs it is made of stands in its resolved.yaml
    assert capsys.readouterr().out.count("done already") == 2
    table = pd.read_csv(own / "mate" / "oof.csv", dtype={"id": str})
    table["red"] += 0.1
    table.to_csv(own / "mate" / "oof.csv", index=False)
    with pytest.raises(UserError, match=r"was made otherwise: .*mate oof.csv changed"):
        run_stage("tune", own, "--run=mix")


def damage_split(root: Path) -> str:
    folds = pd.read_csv(root / "folds" / "folds.csv", dtype=str, keep_default_na=False)
    folds["fold"] = folds["fold"].map({"0": "1", "1": "0", "2": "2"})
    folds.to_csv(root / "folds" / "folds.csv", index=False)
    return "run a was made with other folds"


def lose_fold(root: Path) -> str:
    (root / "runs/b/fold1/predict.done.json").unlink()
    return r"run b has no predictions of fold 1: `python src/predict.py --root .* --run b` first"


def lose_row(root: Path) -> str:
    content = read_npz(root / "runs/b/fold1/oof.npz")
    write_npz(root / "runs/b/fold1/oof.npz", {
        name: array if name in ("classes", "views") else array[1:] for name, array in content.items()
    })  # fmt: skip
    accept_changes(root / "runs/b")
    return "run b: the prediction files do not hold every row once, first 'a"


def rename_class(root: Path) -> str:
    content = read_npz(root / "runs/b/fold1/oof.npz")
    write_npz(root / "runs/b/fold1/oof.npz", content | {"classes": np.array(["001", "NA", "pink"])})
    accept_changes(root / "runs/b")
    return "run b: a prediction file has other classes"


@pytest.mark.parametrize("damage", [damage_split, lose_fold, lose_row, rename_class])
def test_runs_with_other_folds_rows_or_classes_are_refused_by_name(own: Path, damage: Callable[[Path], object]) -> None:
    with pytest.raises(UserError, match=str(damage(own))):
        blend(own, "a", "b")
    assert not (own / "runs" / "mix" / "decision.json").exists()


def edit(root: Path, **columns: Any) -> None:
    table = pd.read_csv(root / "mate" / "oof.csv", dtype={"id": str})
    table.assign(**columns).to_csv(root / "mate" / "oof.csv", index=False)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda root: edit(root, pink=0.1), "needs the column id and one a class, first that differs: 'pink'"),
        (lambda root: edit(root, id="a000"), r"oof.csv does not hold every row once, first 'a001'"),
        (lambda root: edit(root, red="much"), "oof.csv holds what is no number"),
        (lambda root: edit(root, red=-0.5), "oof.csv holds what are no probabilities"),
        (lambda root: (root / "mate" / "test.csv").unlink(), "neither predicted folds nor .*test.csv"),
        (lambda root: (root / "mate" / "folds.csv").write_text("id,fold\na000,9\n"), "its fold of 'a000' is 9, here"),
    ],
)
def test_a_teammates_damaged_tables_are_named(own: Path, damage: Callable[[Path], object], said: str) -> None:
    damage(own)
    with pytest.raises(UserError, match=said):
        blend(own, "a", str(own / "mate"))


def test_wrong_names_are_one_line(own: Path) -> None:
    for flags, said in (
        (("--run=mix", "--runs", "a", "c"), "no run is called c: name some of those in"),
        (("--run=mix", "--runs", "a", "a"), "--runs names a run twice"),
        (("--run=a", "--runs", "a", "b"), "--runs makes a run of its own: name it with --run"),
        (("--runs", "a", "b"), "--runs makes a run of its own"),
    ):
        with pytest.raises(UserError, match=said) as error:
            run_stage("tune", own, *flags)
        assert "\n" not in str(error.value)
    assert not (own / "runs" / "mix").exists()


def test_a_forced_search_keeps_the_trials_of_the_one_before(own: Path) -> None:
    run_stage("tune", own, "--run=a", "--force")
    trials = (own / "runs" / "a" / "trials.csv").read_bytes()
    run_stage("tune", own, "--run=a", "--force", "--tune.trials=4")
    kept = sorted((own / "runs" / "a" / "old").glob("tune-*"))[-1]
    assert {path.name for path in kept.iterdir()} >= {"decision.json", "trials.csv", "optuna.journal"}
    assert (kept / "trials.csv").read_bytes() == trials
    assert len(pd.read_csv(own / "runs" / "a" / "trials.csv")) == 2 * 4


def test_a_blend_has_no_bundle_of_its_own(own: Path) -> None:
    blend(own, "a", "b")
    with pytest.raises(UserError, match="run mix decides by what a, b predict: bundle them, each with its own models"):
        run_stage("bundle", own, "--run=mix")
    assert not list((own / "runs" / "mix").glob("*bundle*"))
