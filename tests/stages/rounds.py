"""A second round on the pseudo-labels of a finished one, and what it makes."""

from pathlib import Path

from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import parse
from tests.conftest import REPOSITORY, TINY, run_stage

ONE = "cross_entropy"
TWO = ("--run=two", f"--pseudo.run={ONE}", "--pseudo.min_confidence=0")
STAGES = ("pretrain", "finetune", "predict")
MADE = ("pseudo.csv", "oof.npz", "test.npz")


def second_round(root: Path, *flags: str) -> None:
    for stage in ("pseudo", *STAGES):
        run_stage(stage, root, *TWO, *flags)


def folder(root: Path, fold: int, run: str = "two") -> Path:
    return root / "runs" / run / f"fold{fold}"


def made(root: Path, fold: int) -> list[bytes]:
    return [(folder(root, fold) / name).read_bytes() for name in MADE]


def experiment_of(root: Path, *flags: str) -> Experiment:
    config = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]
    return load_experiment(parse("", ["--root", str(root), *config, *TINY, *TWO, *flags], per_fold=True))
