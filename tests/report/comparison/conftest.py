"""Runs of one split: `good` is right everywhere, `poor` in four rows of five."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from supcon.storage.tables import Dialect, write_table
from tests.conftest import accept_changes

POOR, GOOD = "study-ce-s0", "study-joint-s0"


def decide(root: Path, run: str, wrong: int) -> None:
    """Make a run of the finished one whose cross-fitted labels are wrong in each `wrong`-th row; 0: in none."""
    folder = root / "runs" / run
    shutil.copytree(root / "runs" / "cross_entropy", folder)
    true = dict(line.split(",")[:2] for line in (root / "folds" / "folds.csv").read_text().splitlines()[1:])
    names = sorted(set(true.values()))
    labels = {
        name: names[names.index(label) - 1] if wrong and number % wrong == 0 else label
        for number, (name, label) in enumerate(true.items())
    }
    write_table(
        folder / "cross_fitted.csv", pd.DataFrame({"id": list(labels), "label": list(labels.values())}), Dialect()
    )
    accept_changes(folder)


@pytest.fixture(scope="session")
def two(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with two runs; tests must not change it."""
    root = tmp_path_factory.mktemp("two") / "root"
    shutil.copytree(finished, root)
    decide(root, POOR, wrong=5)
    decide(root, GOOD, wrong=0)
    return root


@pytest.fixture
def changeable(two: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    return Path(shutil.copytree(two, tmp_path / "root"))
