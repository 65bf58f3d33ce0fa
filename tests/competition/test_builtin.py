"""The built-in competition."""

from pathlib import Path

import pytest

from supcon.competition.builtin import class_sizes, write_builtin
from supcon.competition.submission import read_solution
from supcon.errors import UserError
from supcon.settings.sources import holds_builtin
from tests.competition.conftest import Read


def test_the_built_in_competition_is_long_tailed_and_split_by_thirds(folder: Path, read: Read) -> None:
    (folder / ".gitkeep").touch()
    write_builtin(folder)
    competition = read()
    sizes = class_sizes()
    assert (sizes[0], sizes[9]) == (450, 90)
    assert competition.train["label"].value_counts().sort_index().tolist() == [round(n * 2 / 3) for n in sizes]
    assert len(competition.train) + len(competition.test) == sizes.sum()
    solution = read_solution(folder, competition)
    assert solution is not None
    assert solution.nunique() == 10
    assert (folder / ".gitkeep").exists()
    assert not list(folder.parent.glob(".input*"))
    assert holds_builtin(folder)
    (folder / "train.csv").write_text("id,label\n")  # the user's own files, beside a mark that outlived the old ones
    assert not holds_builtin(folder)


def test_a_link_to_an_empty_folder_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "input").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link or a mount and empty"):
        write_builtin(tmp_path / "input")
    assert not list((tmp_path / "elsewhere").iterdir())
