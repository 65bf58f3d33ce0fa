"""Runs to average, and their average."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import parse
from tests.conftest import REPOSITORY, TINY, accept_changes, run_stage

CONFIG = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]
B = ("--finetune.lr=0.004", "--finetune.epochs=6")
FOLDS = range(3)


def make_runs(finished: Path, root: Path) -> None:
    """Make the runs `a`, which is finished, its copy `twin`, `b` from the same start, and `noise` in place of b."""
    shutil.copytree(finished, root, dirs_exist_ok=True)
    runs = root / "runs"
    (runs / "cross_entropy").rename(runs / "a")
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, root, "--run=b", *B)
    shutil.copytree(runs / "a", runs / "twin")
    shutil.copytree(runs / "b", runs / "noise")
    draw = torch.Generator().manual_seed(0)
    for path in (runs / "noise").glob("fold*/classifier.safetensors"):
        tensors = load_file(path)
        for name in [name for name in tensors if name.endswith(("weight", "bias"))]:
            tensors[name] = torch.randn(tensors[name].shape, generator=draw) * 5
        save_file(tensors, path)
    accept_changes(runs / "noise")
    run_stage("predict", root, "--run=noise", *B, "--force")


def average(
    root: Path, *runs: str, choice: str = "greedy", stages: tuple[str, ...] = ("soup",), flags: tuple[str, ...] = ()
) -> Path:
    """Average runs into the run `s`, and return its folder."""
    for stage in stages:
        run_stage(stage, root, "--run=s", "--runs", *runs, f"--soup={choice}", *flags)
    return root / "runs" / "s"


def experiment_of(root: Path, run: str) -> Experiment:
    return load_experiment(parse("", ["--root", str(root), f"--run={run}", *CONFIG, *TINY]))


def fingerprint_in(path: Path) -> dict[str, object]:
    fingerprint: dict[str, object] = json.loads(path.read_text())["fingerprint"]
    return fingerprint


def bytes_of(folder: Path, *names: str) -> list[bytes]:
    return [(folder / name).read_bytes() for name in names]
