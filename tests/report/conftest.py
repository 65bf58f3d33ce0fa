"""Finished runs to report on, one of them with names that would break a careless page."""

import shutil
from pathlib import Path

import pytest

from supcon.commands import report
from supcon.report.run import Run, open_run
from supcon.settings import parse
from tests.conftest import built_once, run_all, write_competition

SCRIPT, MATH, AMPERSAND = "<script>alert(1)</script>", "$\\frac{1_{", "O'Brien & <i>co"
FILE = "<img src=x onerror=alert(2)>"


def run_of(root: Path, name: str = "cross_entropy") -> Run:
    """Return a run of a root."""
    return open_run(parse("", [f"--root={root}", f"--run={name}"]))


def page_of(root: Path, *flags: str, name: str = "cross_entropy") -> str:
    """Report on a run and return its page."""
    report.main([f"--root={root}", f"--run={name}", *flags])
    return (root / "runs" / name / "report.html").read_text()


@pytest.fixture(scope="session")
def reported(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run's root with its report; tests must not change it."""
    root = tmp_path_factory.mktemp("reported") / "root"
    shutil.copytree(finished, root)
    page_of(root)
    return root


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run's root, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "root"))


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root whose classes and files have names of markup; its run, hardly trained, makes many mistakes."""

    def build(root: Path) -> None:
        write_competition(root / "input", [SCRIPT] * 24 + [MATH] * 15 + [AMPERSAND] * 9)
        images, table = root / "input" / "train", root / "input" / "train.csv"
        (images / "a003.png").rename(images / f"{FILE}.png")
        table.write_text(table.read_text().replace("a003,", f"{FILE},"))
        run_all(root, "--pretrain.epochs=0", "--finetune.epochs=1")

    return built_once(tmp_path_factory, "hostile", build)
