"""The table of stages and their pages."""

import sys
from pathlib import Path

import pytest

from supcon.errors import UserError
from supcon.run.stages import STAGES, load_page, order
from tests.conftest import REPOSITORY


def test_the_table_and_the_pages_are_the_same_and_run_sh_plays_all_of_them_in_order() -> None:
    assert {stage.module for stage in STAGES} == {path.stem for path in (REPOSITORY / "src").glob("*.py")}
    assert [page for line in order() for page in line.split()[1:]] == [stage.module for stage in STAGES]


def test_a_page_is_this_repositorys_whatever_else_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "pseudo.py").write_text("raise AssertionError('another one')\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "pseudo", raising=False)
    load_page.cache_clear()
    assert callable(load_page("pseudo").run)


def test_without_the_pages_it_is_said_where_they_are() -> None:
    with pytest.raises(UserError, match="stages are run from a clone of the repository"):
        load_page("no_such_stage")
