"""What does not average is refused in one line that names the run, with nothing written."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from supcon.errors import UserError
from tests.conftest import accept_changes, change_done, run_stage
from tests.stages.soups import average, fingerprint_in
from tests.stages.test_blend import damage_split

Damage = Callable[[Path], object]
OTHER = r"run b does not average with run a: it "


def made_with(key: str, value: object, fold: int = 0) -> Damage:
    def damage(root: Path) -> None:
        path = root / f"runs/b/fold{fold}/finetune.done.json"
        change_done(path, fingerprint={**fingerprint_in(path), key: value})

    return damage


def lose_fold(root: Path) -> None:
    (root / "runs/b/fold1/predict.done.json").unlink()


def train_anew(root: Path) -> None:
    change_done(root / "runs/b/fold2/finetune.done.json", hash="0")


def keep_tables_alone(root: Path) -> None:
    for path in (root / "runs/b").glob("fold*"):
        shutil.rmtree(path)


def widen(root: Path) -> None:
    path = root / "runs/b/fold0/classifier.safetensors"
    tensors = load_file(path)
    tensors["classifier.1.bias"] = torch.zeros(4)
    save_file(tensors, path)
    accept_changes(root / "runs/b")


def average_of_averages(root: Path) -> None:
    average(root, "a", "twin", choice="uniform", stages=("soup", "predict"))
    shutil.rmtree(root / "runs" / "b")
    (root / "runs" / "s").rename(root / "runs" / "b")


def link_twice(root: Path) -> None:
    shutil.rmtree(root / "runs" / "b")
    (root / "runs" / "b").symlink_to(root / "runs" / "a")


@pytest.mark.parametrize(("damage", "said"), [
    (made_with("model.encoder", "resnet18"), OTHER + "has model.encoder resnet18, not test_resnet; leave one out"),
    (made_with("model.kwargs", "{}", fold=2), OTHER + "has model.kwargs {}, not "),
    (made_with("model.pretrained", True), OTHER + "has model.pretrained True, not False"),
    (made_with("train.seed", 1), OTHER + "has random weights that pretrain drew by train.seed 1, not that"),
    (made_with("input --model.weights", "0"), OTHER + "starts from another --model.weights"),
    (made_with("finetune.mode", "linear"), OTHER + "has finetune.mode linear, not full"),
    (made_with("finetune.logit_adjustment", 0.5), OTHER + "has finetune.logit_adjustment 0.5, not 1.0"),
    (made_with("batches.balance", 0.5), OTHER + "has batches.balance 0.5, not None"),
    (made_with("data.image_size", 32), OTHER + "has data.image_size 32, not 16"),
    (widen, r"runs/b/fold0/classifier\.safetensors is of another network than .*a/fold0.*, first classifier\.1\.bias"),
    (damage_split, "run a was made with other folds, rows or labels"),
    (lose_fold, r"run b has no predictions of fold 1: `python src/predict\.py .*--run b` first"),
    (train_anew, r"run b has new weights of fold 2 since it predicted: `python src/predict\.py .*--force` first"),
    (keep_tables_alone, "run b has no models of its own to average: name the runs that it blends"),
    (average_of_averages, "run b is an average of weights itself: name the runs that it averages"),
    (link_twice, "run b is named twice"),
])  # fmt: skip
def test_runs_that_do_not_fit_are_refused_by_name(own: Path, damage: Damage, said: str) -> None:
    damage(own)
    with pytest.raises(UserError, match=said) as error:
        average(own, "a", "b")
    assert "\n" not in str(error.value)
    assert not list((own / "runs" / "s").rglob("*.safetensors"))


@pytest.mark.parametrize(("stage", "flags", "said"), [
    ("soup", ("--run=s", "--runs", "a", "c", "--soup=greedy"), "no run is called c: name some of those in"),
    ("soup", ("--run=s", "--runs", "a", "a", "--soup=greedy"), "--runs names a run twice: name each once"),
    ("soup", ("--run=s", "--average.runs=[a,b,a]"), "--average.runs names a twice: name each run once"),
    ("soup", ("--run=s", "--runs", "a", "--soup=greedy"), "--average.runs a: an average is of two runs or more"),
    ("soup", ("--run=s", "--soup=greedy"), "--soup averages the weights of several runs: name them with --runs"),
    ("soup", ("--runs", "a", "b", "--soup=greedy"), "--runs makes a run of its own: name it with --run"),
    ("soup", ("--run=twin", "--runs", "a", "b", "--soup=greedy"), "run twin has been trained: give the average anot"),
    ("predict", ("--run=s", "--runs", "a", "b"), "--runs alone blends predictions, as tune and ensemble do"),
    ("tune", ("--run=s", "--runs", "a", "b", "--average.runs=[a,b]"), r"a run blends predictions \(tune.runs\) or av"),
    ("soup", ("--run=s", "--runs", "a", "b", "--soup=greedy", "--finetune.logit_adjustment=0.5"),
     "--finetune.logit_adjustment 0.5: run a was trained with 1.0: leave the flag out"),
    ("soup", ("--run=s", "--runs", "a", "b", "--soup=greedy", "--contrast.projection_dim=64"),
     "--contrast.projection_dim 64: run a was trained with 128: leave the flag out"),
    ("soup", ("--run=s", "--runs", "a", "b", "--soup=greedy", "--fold=3"), "--fold 3: the folds are 0 to 2, and full"),
])  # fmt: skip
def test_calls_that_name_no_average_are_one_line(
    runs_to_average: Path, stage: str, flags: tuple[str, ...], said: str
) -> None:
    with pytest.raises(UserError, match=said) as error:
        run_stage(stage, runs_to_average, *flags)
    assert "\n" not in str(error.value)
    assert not (runs_to_average / "runs" / "s").exists()
