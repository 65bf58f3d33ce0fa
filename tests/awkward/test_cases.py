"""Every awkward form of input is read rightly, or asked about in one line; nothing is silently wrong."""

import re
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import pytest

import tests.awkward
from supcon.competition.survey import Survey, survey
from supcon.errors import UserError
from supcon.settings import parse
from tests.awkward.case import Case, ordinary

MODULES = [import_module(f"tests.awkward.{module.name}") for module in iter_modules(tests.awkward.__path__)]
CASES: list[Case] = [case for module in MODULES for case in getattr(module, "CASES", [])]


def look(root: Path, flags: list[str]) -> Survey:
    """Read and survey a root, as `doctor` does."""
    return survey(parse("", ["--root", str(root), "--data.image_size=32", *flags]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_it_is_read_or_asked_about(case: Case, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    ordinary(folder)
    case.change(folder)
    if case.asks:
        with pytest.raises(UserError) as caught:
            look(tmp_path, case.flags)
        assert re.search(case.asks, str(caught.value)), str(caught.value)
        return
    seen = look(tmp_path, case.flags)
    competition, said = seen.competition, seen.text()
    assert (len(competition.train), len(competition.test)) == (case.train, case.test)
    assert competition.classes == sorted(case.classes)
    assert re.search(case.says, said), said
    if not case.says:
        assert "\nnote" not in said
