"""The small competition's study: what is in its file, and a root where it is finished."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pandas as pd
import pytest
import yaml

from supcon.commands import study
from supcon.run import stages
from supcon.run.stages import Page
from supcon.settings import Request
from supcon.storage.tables import read_table
from supcon.study import cells as cells_of
from tests.conftest import TINY, built_once, write_competition

VARIANTS: dict[str, dict[str, Any]] = {
    "ce": {"pretrain.epochs": 0, "finetune.epochs": 6, "finetune.contrastive_weight": 0},
    "two": {"pretrain.epochs": 2, "finetune.epochs": 4},
    "short": {"pretrain.epochs": 0, "finetune.epochs": 3},
    "hot": {"pretrain.epochs": 9, "pretrain.lr": 1000, "pretrain.clip": 0},
}
BRIEF: dict[str, dict[str, Any]] = {
    "ce": {"pretrain.epochs": 0, "finetune.epochs": 2, "finetune.contrastive_weight": 0},
    "two": {"pretrain.epochs": 1, "finetune.epochs": 1},
}
ROUNDS: list[dict[str, Any]] = [{"folds": [0], "seeds": [0], "keep": 1}, {"folds": "all", "seeds": [0]}]


def write_study(root: Path, variants: dict[str, dict[str, Any]], rounds: list[dict[str, Any]]) -> Path:
    flags = dict(word.removeprefix("--").split("=") for word in TINY)
    content = {"config": "configs/cross_entropy.yaml", "flags": flags, "baseline": "ce", "variants": variants}
    path = root / "tiny.yaml"
    path.write_text(yaml.safe_dump({**content, "rounds": rounds}, sort_keys=False))
    return path


def play(root: Path, *flags: str) -> None:
    study.main([str(root / "tiny.yaml"), "--root", str(root), *flags])


@pytest.fixture(scope="session")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a finished study; tests must not change its runs."""

    def build(root: Path) -> None:
        write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
        (root / "input" / "solution.csv").write_text("not,for\nthe,study\n")  # read, it would end the study
        write_study(root, VARIANTS, ROUNDS)
        play(root)

    return built_once(tmp_path_factory, "study", build)


def cells(root: Path) -> pd.DataFrame:
    return read_table(root / "runs" / "tiny" / "table.csv").astype({"round": int, "seed": int, "fold": int})


StageRunner = Callable[[Request], None]


def replace_stages(monkeypatch: pytest.MonkeyPatch, runners: Mapping[str, StageRunner]) -> None:
    """Let a study's cells run these in place of the stages of that name."""

    def page_of(name: str) -> Page:
        return cast(Page, SimpleNamespace(run=runners[name])) if name in runners else stages.page_of(name)

    monkeypatch.setattr(cells_of, "page_of", page_of)


def never(request: Request) -> None:
    raise AssertionError(f"a stage was called: {request}")


NEVER = dict.fromkeys(("pseudo", "pretrain", "finetune", "predict"), never)


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    replace_stages(monkeypatch, NEVER)
