"""What the tests of a second round and of averages start from."""

import shutil
from functools import partial
from pathlib import Path

import pytest

from tests.conftest import built_once
from tests.stages.soups import make_runs


@pytest.fixture
def first(finished: Path, tmp_path: Path) -> Path:
    """A root whose first round is finished, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "root"))


@pytest.fixture(scope="session")
def runs_to_average(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with the runs of `make_runs`; tests must not change it."""
    return built_once(tmp_path_factory, "runs to average", partial(make_runs, finished))


@pytest.fixture
def own(runs_to_average: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(runs_to_average, tmp_path, dirs_exist_ok=True))
