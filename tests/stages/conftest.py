"""What the tests of the second round start from."""

import shutil
from pathlib import Path

import pytest


@pytest.fixture
def first(finished: Path, tmp_path: Path) -> Path:
    """A root whose first round is finished, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "root"))
