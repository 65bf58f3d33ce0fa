"""A competition of a thousand classes still fits on a page."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from supcon.competition.form import Form
from supcon.decision.rule import Rule
from supcon.report.contents import sections
from supcon.report.page import Table, render
from supcon.report.run import Run
from supcon.run.experiment import Experiment
from supcon.run.runs import RunLogits
from supcon.run.split import Split
from supcon.settings import parse

CLASSES, ROWS_A_CLASS, FOLDS = 1000, 3, 3


class Noise:
    """Images of noise."""

    def __getitem__(self, position: int) -> np.ndarray:
        return np.random.default_rng(position).integers(0, 256, size=(256, 256, 3)).astype(np.uint8)


@pytest.fixture
def large(tmp_path: Path) -> Run:
    """A run that is right in about half of its rows."""
    draw = np.random.default_rng(0)
    names = [f"species number {number:04d} of a long list" for number in range(CLASSES)]
    true = np.repeat(np.arange(CLASSES), ROWS_A_CLASS)
    rows = len(true)
    logits = draw.normal(0, 1, size=(rows, 2, CLASSES)).astype(np.float32)
    logits[np.arange(rows), :, true] += draw.normal(3.2, 1.0, size=(rows, 1)).astype(np.float32)
    labels = logits.mean(axis=1).argmax(axis=1)
    ids = [f"row{number}" for number in range(rows)]
    split = pd.DataFrame(
        {"id": ids, "label": np.array(names)[true], "group": "", "fold": np.tile(np.arange(FOLDS), CLASSES)}
    )
    competition = SimpleNamespace(paths=ids, train=split, test=split.iloc[:0], form=Form(["label"]))
    flags = [f"--root={tmp_path}", "--config=configs/smoke.yaml", f"--data.folds={FOLDS}", "--tune.bootstrap=50"]
    run = Run(Experiment(parse("", flags), competition, Split(split)))  # type: ignore[arg-type]
    rule = Rule((1 / CLASSES,) * CLASSES).as_json(names, ["large"])
    run.__dict__["decision"] = {
        "in_sample": 0.5, "ladder": [{"rung": "argmax", "cross_fitted": 0.5}], "rule": rule, "untuned": rule,
        "fold_rules": {str(fold): rule for fold in range(FOLDS)},
    }  # fmt: skip
    copies = SimpleNamespace(text=lambda _: [], contradictions=(), test_in_train=())
    run.__dict__.update(
        labels=labels, logits=logits, runs=[RunLogits("large", logits, [])], images=Noise(), copies=copies
    )
    return run


@pytest.mark.slow
def test_a_thousand_classes_stay_below_five_megabytes(large: Run) -> None:
    page = {section.title: section for section in sections(large)}
    tables = [block for block in page["Classes"].blocks if isinstance(block, Table)]
    assert len(tables[0].rows) == 51  # the fifty costliest, and all
    assert tables[0].rows[-1][0] == "all 1,000"
    assert len(render("large", "", list(page.values())).encode()) < 5_000_000
