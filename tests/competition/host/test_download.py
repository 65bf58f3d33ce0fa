"""Download: a whole zip in an empty input/, or nothing that would be read."""

import io
import re
import zipfile
from pathlib import Path

import pytest

from supcon.commands import download
from supcon.competition.host import PART
from supcon.errors import UserError
from supcon.settings.sources import is_empty
from tests.competition.host.fake import FakeClient
from tests.competition.host.test_client import CASES


def zip_bytes() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr(zipfile.ZipInfo("train.csv"), "id,label\n")  # of a fixed date: equal bytes each time
    return buffer.getvalue()


def run(root: Path, name: str = "seeds") -> None:
    download.main(["--root", str(root), name])


@pytest.mark.parametrize("state", ["absent", "empty", "dot-files"])
def test_the_zip_lands_in_an_empty_input(state: str, tmp_path: Path, kaggle: FakeClient) -> None:
    folder = tmp_path / "input"
    if state != "absent":
        folder.mkdir()
    if state == "dot-files":
        (folder / ".gitkeep").touch()
    kaggle.plays("download", zip_bytes())
    run(tmp_path)
    assert kaggle.calls == [["competitions", "download", "seeds", f"--path={folder / PART}", "--quiet"]]
    assert (folder / "seeds.zip").read_bytes() == zip_bytes()
    assert {path.name for path in folder.iterdir()} - {".gitkeep"} == {"seeds.zip"}


def test_an_input_with_files_is_left_alone(root: Path, kaggle: FakeClient) -> None:
    with pytest.raises(UserError, match=r"input holds files already: move them away, or .*--root DIR"):
        run(root)
    assert kaggle.calls == []


@pytest.mark.parametrize("output", list(CASES)[::4])
def test_a_failed_download_leaves_nothing(output: str, tmp_path: Path, kaggle: FakeClient) -> None:
    (tmp_path / "input").mkdir()
    kaggle.plays("download", ("", output, 1))
    with pytest.raises(UserError, match=CASES[output]):
        run(tmp_path)
    assert list((tmp_path / "input").iterdir()) == []


@pytest.mark.parametrize("content", [b"<html>", zip_bytes()[:-30], ""], ids=["a page", "half a zip", "nothing"])
def test_what_is_no_whole_zip_never_becomes_the_input(
    content: "bytes | str", tmp_path: Path, kaggle: FakeClient
) -> None:
    kaggle.plays("download", content)
    with pytest.raises(UserError, match="no whole zip file"):
        run(tmp_path)
    assert list((tmp_path / "input").iterdir()) == []


def test_a_download_that_broke_off_is_kept_for_the_next_try_where_nobody_reads_it(
    tmp_path: Path, kaggle: FakeClient
) -> None:
    part = tmp_path / "input" / PART
    part.mkdir(parents=True)
    (part / "seeds.zip").write_bytes(zip_bytes()[:20])
    kaggle.plays("download", ("", "Connection aborted", 1), zip_bytes())
    with pytest.raises(UserError, match="check the network, then try again"):
        run(tmp_path)
    assert (part / "seeds.zip").stat().st_size == 20
    assert is_empty(tmp_path / "input")
    run(tmp_path)
    assert [path.name for path in (tmp_path / "input").iterdir()] == ["seeds.zip"]


def test_an_input_that_cannot_be_made_and_a_wrong_name_are_named(tmp_path: Path, kaggle: FakeClient) -> None:
    (tmp_path / "input").symlink_to(tmp_path / "gone" / "away")
    (tmp_path / "gone").touch()
    with pytest.raises(UserError, match="could not be made"):
        run(tmp_path)
    for wrong in ("../x", "c/x", ""):
        with pytest.raises(UserError, match=re.escape("competition")):
            run(tmp_path, wrong)
    assert kaggle.calls == []
