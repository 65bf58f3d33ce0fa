"""Runs are averaged into one that is as any other, each fold's chosen by the rows of other folds."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from supcon.bundle.infer import predict_submission
from supcon.bundle.manifest import read_bundle
from supcon.errors import UserError
from supcon.run.predictions import read_embeddings
from supcon.storage.files import read_npz
from supcon.training.fold import FoldData
from supcon.training.model.classifier import load_classifier
from supcon.training.model.timm_import import timm
from tests.conftest import REPOSITORY, TINY, accept_changes, change_done, run_stage
from tests.stages.rounds import ONE
from tests.stages.soups import CONFIG, FOLDS, B, average, bytes_of, experiment_of, fingerprint_in
from tests.stages.test_laws import permute_held_out_labels

WEIGHTS, MADE = "classifier.safetensors", ("classifier.safetensors", "soup.csv")
PREDICTED = ("oof.npz", "test.npz", "embeddings.npz")
TO_PREDICT = ("soup", "predict")


def test_the_uniform_average_of_two_copies_is_the_run(own: Path) -> None:
    flags = (
        "--model.encoder=test_vit",
        "--pretrain.epochs=0",
        "--finetune.epochs=1",
        "--finetune.contrastive_weight=0",
    )
    for stage in ("finetune", "predict"):
        run_stage(stage, own, "--run=c", *flags)
    shutil.copytree(own / "runs" / "c", own / "runs" / "c2")
    soup = average(own, "c", "c2", choice="uniform", stages=TO_PREDICT, flags=flags)
    for fold in FOLDS:
        mean, one = (load_file(folder / f"fold{fold}" / WEIGHTS) for folder in (soup, own / "runs" / "c"))
        assert mean.keys() == one.keys()
        assert all(torch.equal(mean[name], one[name]) for name in one)
        names = ("oof.npz", "test.npz")
        assert bytes_of(soup / f"fold{fold}", *names) == bytes_of(own / "runs" / "c" / f"fold{fold}", *names)


def test_of_two_copies_with_batch_norm_its_statistics_alone_are_new_and_the_labels_stay(own: Path) -> None:
    soup, run = average(own, "a", "twin", choice="uniform", stages=TO_PREDICT), own / "runs" / "a"
    for fold in FOLDS:
        mean, one = (load_file(folder / f"fold{fold}" / WEIGHTS) for folder in (soup, run))
        assert mean.keys() == one.keys()
        changed = {name.rpartition(".")[2] for name in one if not torch.equal(mean[name], one[name])}
        assert changed == {"running_mean", "running_var", "num_batches_tracked"}
        here, there = (read_npz(folder / f"fold{fold}" / "oof.npz")["logits"] for folder in (soup, run))
        assert (here.mean(axis=1).argmax(axis=1) == there.mean(axis=1).argmax(axis=1)).all()


def test_the_statistics_of_batch_norm_are_those_of_the_folds_training_rows_in_plain_view(own: Path) -> None:
    soup = average(own, "a", "b", choice="uniform")
    experiment = experiment_of(own, "s")
    data = FoldData(experiment, 1, torch.device("cpu"))
    encoder, _ = load_classifier(experiment.settings, 3, soup / "fold1" / WEIGHTS)
    norm = next(module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen: list[torch.Tensor] = []
    norm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    data.training_features(encoder)
    assert len(torch.cat(seen)) == 40
    assert norm.running_mean is not None
    torch.testing.assert_close(norm.running_mean, torch.cat(seen).mean(dim=(0, 2, 3)), rtol=1e-4, atol=1e-5)


def test_a_run_of_noise_is_left_out_and_what_was_tried_is_kept(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soup = average(own, "noise", "b", "a")
    said = capsys.readouterr().out
    for fold in FOLDS:
        table = pd.read_csv(soup / f"fold{fold}" / "soup.csv").set_index("run")
        assert list(table.columns) == ["alone", "average", "taken"]
        assert table.index[0] == "a"  # the best alone
        assert table["taken"].to_dict() == {"a": True, "b": True, "noise": False}
        assert table["alone"]["noise"] < 0.5
        assert f"soup fold {fold}: b + a of 3 runs, on the rows of the other folds macro-F1 1.0000, a alone 1.0" in said


def test_where_one_run_is_left_it_is_that_run(own: Path) -> None:
    soup, run = average(own, "noise", "a", stages=TO_PREDICT), own / "runs" / "a"
    for fold in FOLDS:
        assert bytes_of(soup / f"fold{fold}", *PREDICTED) == bytes_of(run / f"fold{fold}", *PREDICTED)


def test_the_labels_of_held_out_rows_change_neither_the_choice_nor_a_prediction(own: Path) -> None:
    results = []
    for attempt in ("first", "second"):
        average(own, "a", "b", "noise", stages=TO_PREDICT, flags=("--fold", "0", "1"))
        results.append([bytes_of(own / "runs" / "s" / f"fold{fold}", *MADE, *PREDICTED) for fold in (0, 1)])
        shutil.move(own / "runs" / "s", own / attempt)
        permute_held_out_labels(own, fold=1)
        digest = experiment_of(own, "a").split.digest
        for path in (own / "runs").rglob("*.done.json"):  # the runs stand, as if made with the present labels
            change_done(path, fingerprint={**fingerprint_in(path), "input folds/folds.csv": digest})
    assert results[0][1] == results[1][1]
    assert results[0][0][1] != results[1][0][1]  # by these rows fold 0 is chosen


def test_killed_or_fold_by_fold_or_with_damaged_predictions_it_ends_with_the_same_bytes(own: Path) -> None:
    soup, kept, runs = own / "runs" / "s", own / "cache" / "averages", ("a", "b", "noise")

    def made() -> list[list[bytes]]:
        return [bytes_of(soup / f"fold{fold}", *MADE) for fold in FOLDS]

    def begin_anew() -> None:
        shutil.rmtree(soup)
        shutil.rmtree(kept)

    average(own, *runs)
    expected = made()
    assert len(list(kept.iterdir())) == 2 * len(FOLDS)  # of each fold the second and the third average, once

    for path in kept.iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    average(own, *runs, flags=("--force",))
    assert made() == expected

    begin_anew()
    for fold in (2, 0, 1):
        average(own, *runs, flags=(f"--fold={fold}",))
    assert made() == expected

    begin_anew()
    command = [sys.executable, str(REPOSITORY / "src/soup.py"), "--root", str(own), *CONFIG, *TINY]
    process = subprocess.Popen([*command, "--run=s", "--runs", *runs, "--soup=greedy"], stdout=subprocess.DEVNULL)
    while process.poll() is None and not list(kept.glob("*.npz")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    average(own, *runs)
    assert made() == expected


def test_runs_that_predicted_otherwise_are_predicted_anew_before_they_are_compared(own: Path) -> None:
    average(own, "a", "b", stages=TO_PREDICT, flags=("--predict.views=1", "--predict.class_mean_weight=0.5"))
    assert len(list((own / "cache" / "averages").iterdir())) == 3 * len(FOLDS)  # a, b and both


def test_it_is_decided_bundled_and_reported_like_any_other(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    soup = average(own, "a", "b", stages=(*TO_PREDICT, "tune", "ensemble"))
    assert read_embeddings(soup / "fold0").projections is not None
    run_stage("bundle", own, "--run=s")
    predict_submission(read_bundle(soup / "bundle"), own / "input", own / "offline.csv")
    assert (own / "offline.csv").read_bytes() == (own / "submissions" / "submission.csv").read_bytes()
    run_stage("report", own, "--run=s")
    assert "Run s was not trained: it averages a, b" in (soup / "report.html").read_text()
    capsys.readouterr()
    for stage in ("pretrain", "finetune", *TO_PREDICT, "tune", "ensemble"):
        run_stage(stage, own, "--run=s")  # what it averages stands in its resolved.yaml
    said = capsys.readouterr().out.splitlines()
    assert [line.partition(": ")[2][:8] for line in said[:2]] == ["left out"] * 2
    assert [line.partition(": ")[2] for line in said[2:]] == ["done already"] * (2 * len(FOLDS) + 2)


def test_a_run_without_a_projection_leaves_the_average_without_one(own: Path) -> None:
    for path in (own / "runs" / "b").glob("fold*/classifier.safetensors"):
        tensors = load_file(path)
        save_file({name: tensor for name, tensor in tensors.items() if not name.startswith("projection.")}, path)
    accept_changes(own / "runs" / "b")
    soup = average(own, "a", "b", choice="uniform", stages=TO_PREDICT, flags=("--fold=0",))
    assert read_embeddings(soup / "fold0").projections is None


def test_the_model_on_all_rows_averages_those_of_the_runs_that_the_rows_of_all_folds_choose(own: Path) -> None:
    with pytest.raises(UserError, match=r"run a has no weights of fold full: `python src/finetune\.py .*--fold full`"):
        average(own, "a", "b", flags=("--fold=full",))
    for run, flags in (("a", ()), ("b", B)):
        for stage in ("pretrain", "finetune"):
            run_stage(stage, own, f"--run={run}", "--fold=full", *flags)
    soup = average(own, "a", "b", stages=TO_PREDICT, flags=("--fold=full",))
    assert pd.read_csv(soup / "full" / "soup.csv")["taken"].all()
    assert len(list((own / "cache" / "averages").iterdir())) == len(FOLDS)
    assert (soup / "full" / "test.npz").exists()


def test_adapters_of_one_frozen_encoder_are_averaged(root: Path, tmp_path: Path) -> None:
    weights = tmp_path / "start.safetensors"
    save_file(timm.create_model("test_efficientnet", num_classes=0).state_dict(), weights)
    flags = (
        "--model.frozen=true", "--model.frozen_views=2", "--model.adapter_width=16", "--contrast.projection_norm=true",
        "--model.encoder=test_efficientnet", "--model.pretrained=true", "--pretrain.epochs=0", "--finetune.epochs=2",
        "--predict.neighbours=3",
    )  # fmt: skip
    run_stage("make_folds", root)
    for run, rate in (("a", "0.002"), ("b", "0.004")):
        for stage in ("finetune", "predict"):
            run_stage(stage, root, f"--run={run}", *flags, f"--model.weights={weights}", f"--finetune.lr={rate}")
    soup = average(root, "a", "b", choice="uniform", stages=(*TO_PREDICT, "tune"), flags=flags)
    one, other, mean = (load_file(root / "runs" / run / "fold0" / WEIGHTS) for run in ("a", "b", "s"))
    assert json.loads((soup / "fold0" / "soup.done.json").read_text())["runs"] == ["a", "b"]
    name = "encoder.layers.0.weight"
    torch.testing.assert_close(mean[name], (one[name] + other[name]) / 2)
    assert "neighbour_logits" in read_npz(soup / "fold0" / "oof.npz")
    statistics = next(name for name in mean if name.startswith("projection.") and name.endswith("running_mean"))
    assert (mean[statistics] - (one[statistics] + other[statistics]) / 2).abs().max() > 1e-4
    run_stage("soup", root, "--run=g", "--runs", "a", "b", "--soup=greedy", *flags)
    assert pd.read_csv(root / "runs/g/fold0/soup.csv")["run"].nunique() == 2
    with pytest.raises(UserError, match="--model.weights: an average starts from the weights of its runs: leave the"):
        run_stage("soup", root, "--run=s", *flags, f"--model.weights={weights}")


@pytest.mark.slow
def test_second_rounds_on_the_same_pseudo_labels_are_averaged(own: Path) -> None:
    (own / "runs" / "a").rename(own / "runs" / ONE)
    flags = (f"--pseudo.run={ONE}", "--pseudo.min_confidence=0", "--pretrain.epochs=0", "--finetune.epochs=2")
    for run, rate in (("two", "0.002"), ("three", "0.004")):
        for stage in ("pseudo", "finetune", "predict"):
            run_stage(stage, own, f"--run={run}", *flags, f"--finetune.lr={rate}")
    soup = average(own, "two", "three", stages=(*TO_PREDICT, "tune"), flags=flags)
    run_stage("pseudo", own, "--run=s", *flags)
    assert not (soup / "fold0" / "pseudo.csv").exists()  # the runs' own is read
    pseudo = own / "runs/three/fold0/finetune.done.json"
    change_done(pseudo, fingerprint={**fingerprint_in(pseudo), "input pseudo": "0"})
    with pytest.raises(UserError, match="run three does not average with run two: it learned other pseudo-labels"):
        run_stage("soup", own, "--run=s", *flags)
