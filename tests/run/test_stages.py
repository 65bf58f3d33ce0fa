"""The table of stages and their pages."""

import sys
from pathlib import Path

import pytest

from supcon.errors import UserError
from supcon.run.stage import fingerprint
from supcon.run.stages import STAGE, STAGES, load_page, order
from supcon.settings import parse
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


@pytest.mark.parametrize("name", ["pretrain", "finetune", "predict"])
def test_how_files_are_read_counts_where_it_is_not_the_default(name: str, tmp_path: Path) -> None:
    def keys(*flags: str) -> dict[str, object]:
        made = fingerprint(STAGE[name], parse("", ["--root", str(tmp_path), *flags]), {})
        return {key: value for key, value in made.items() if key.startswith(("data.pixel", "data.bands"))}

    assert keys() == {}  # as before there were such settings: earlier runs go on
    for flag, value in (("data.pixel_range", "-35,0"), ("data.bands", "4,3,2"), ("data.pixel_limit", 5)):
        assert keys(f"--{flag}={value}")[flag] == value


def test_settings_that_earlier_versions_lacked_count_where_training_uses_them(tmp_path: Path) -> None:
    def new(name: str, *flags: str) -> set[str]:
        def made(*flags: str) -> dict[str, object]:
            return fingerprint(STAGE[name], parse("", ["--root", str(tmp_path), *flags]), {})

        return made(*flags).keys() - made().keys()

    for name in ("pretrain", "finetune"):
        assert new(name, "--augment.magnitude=5", "--augment.severity=5", "--model.checkpointing=true") == set()
        assert new(name, "--augment.policy=trivialaugment") == {"augment.policy"}
        drawn = {"augment.policy", "augment.num_ops", "augment.magnitude"}
        assert new(name, "--augment.policy=randaugment") == drawn
        assert new(name, "--augment.policy=augmix") == {"augment.policy", "augment.severity"}
        assert new(name, '--model.kwargs={"window_size": 8}') == {"model.kwargs"}
    assert new("predict", "--augment.policy=augmix") == set()
    begun = fingerprint(STAGE["pretrain"], parse("", ["--root", str(tmp_path)]), {})
    assert not {"augment.policy", "augment.num_ops", "augment.magnitude", "augment.severity"} & begun.keys()
