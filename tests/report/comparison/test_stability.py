"""Scatter over seeds and learning rates, as a study left it."""

from pathlib import Path

import pytest
import yaml

from supcon.report.comparison.stability import find_study, scores_by_rate, scores_by_seed
from supcon.storage.files import read_json, write_json
from tests.report.comparison.conftest import GOOD, POOR
from tests.report.conftest import run_of

VARIANTS = {
    "ce": {"pretrain": {"epochs": 0}, "finetune": {"lr": 0.001}},
    "ce-fast": {"pretrain": {"epochs": 0}, "finetune": {"lr": 0.01}},
    "ce-ema": {"pretrain": {"epochs": 0}, "finetune": {"lr": 0.001, "ema": 0.5}},
    "joint": {"finetune": {"contrastive_weight": 1.0}},
}
CELLS = ["1,ce,0,0,0.80,,,,", "1,ce,0,1,0.90,,,,", "1,ce-fast,0,0,0.70,,,,", "1,ce-ema,0,0,0.60,,,,",
         "1,ce-fast,0,1,,,,,lost", "2,ce,0,0,0.80,,,,"]  # fmt: skip


@pytest.fixture
def root(changeable: Path) -> Path:
    """A root in which `study` has tried four variants."""
    folder = changeable / "runs" / "study"
    (folder / "variants").mkdir(parents=True)
    for name, settings in VARIANTS.items():
        (folder / "variants" / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    header = "round,variant,seed,fold,macro_f1,nll,passes,seconds,failed"
    (folder / "table.csv").write_text("\n".join([header, *CELLS]) + "\n")
    return changeable


def test_a_run_knows_its_study_even_where_names_hold_dashes(root: Path) -> None:
    (root / "runs" / "study-ce-s0").rename(root / "runs" / "study-ce-fast-s12")
    study_run = find_study(run_of(root, "study-ce-fast-s12"))
    assert study_run is not None
    assert (study_run.study, study_run.variant) == ("study", "ce-fast")
    assert find_study(run_of(root, "cross_entropy")) is None


def test_seeds_are_the_whole_runs_of_the_variant(root: Path) -> None:
    for seed, score in ((1, 0.75), (12, 0.5)):
        write_json(root / "runs" / f"study-ce-s{seed}" / "decision.json", {"metric": "macro_f1", "cross_fitted": score})
    write_json(root / "runs" / "study-ce-s3" / "decision.json", {"metric": "accuracy", "cross_fitted": 0.9})
    write_json(root / "runs" / "study-ce-small-s4" / "decision.json", {"metric": "macro_f1", "cross_fitted": 0.9})
    own = read_json(root / "runs" / POOR / "decision.json")["cross_fitted"]
    assert scores_by_seed(run_of(root, POOR)) == {0: own, 1: 0.75, 12: 0.5}
    assert list(scores_by_seed(run_of(root, GOOD))) == [0]


def test_learning_rates_are_compared_on_the_cells_that_all_have(root: Path) -> None:
    assert scores_by_rate(run_of(root, POOR)) == {"lr 0.001": [0.8], "lr 0.01": [0.7]}
    assert scores_by_rate(run_of(root, GOOD)) == {}
    (root / "runs" / "study" / "table.csv").unlink()
    assert scores_by_rate(run_of(root, POOR)) == {}
