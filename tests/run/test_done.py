"""What a stage wrote is what is read: a file that was damaged since is named, with the command that makes it anew."""

import json
import shutil
from pathlib import Path

import pytest

from supcon.errors import UserError
from supcon.run import done
from supcon.run.done import damages, intact, read_done, read_epochs, read_result, write_done
from supcon.storage.files import digest, sha256_file

FILES = ("classifier.safetensors",)


@pytest.fixture
def fold(tmp_path: Path) -> Path:
    """The folder of a fold whose finetune is done."""
    folder = tmp_path / "runs" / "mine" / "fold3"
    folder.mkdir(parents=True)
    (folder / FILES[0]).write_bytes(b"weights" * 100)
    (folder / "finetune.csv").write_text("epoch,passes,seconds\n1,20,0.5\n2,20,0.5\n")
    write_done(folder / "finetune.done.json", {"finetune.lr": 0.1}, FILES, (), {"seconds": 1.5})
    return folder


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def test_a_whole_file_is_given_and_a_flipped_bit_in_it_is_named_with_the_command(fold: Path) -> None:
    path = fold / FILES[0]
    assert intact(path) == path
    flip(path)
    command = r"`python src/finetune\.py --root .* --run mine --fold 3 --force` makes it anew"
    with pytest.raises(UserError, match=rf"classifier\.safetensors has changed since it was written, .*{command}$"):
        intact(path)


def test_a_run_of_an_earlier_version_which_kept_one_hash_of_all_files_is_compared_too(fold: Path) -> None:
    path, done_file = fold / FILES[0], fold / "finetune.done.json"
    print_of = {"finetune.lr": 0.1}
    before = {"fingerprint": print_of, "hash": digest([print_of, {FILES[0]: sha256_file(path)}]), "seconds": 1.5}
    assert read_done(done_file)["hash"] == before["hash"]  # so that what stands on it is not done anew
    done_file.write_text(json.dumps(before))
    assert intact(path) == path
    assert list(damages(done_file)) == []
    flip(path)
    with pytest.raises(UserError, match="has changed since it was written"):
        intact(path)


def test_a_file_that_no_stage_has_finished_is_taken_as_it_is(fold: Path) -> None:
    (fold / "finetune.done.json").unlink()
    flip(fold / FILES[0])
    intact(fold / FILES[0])
    intact(fold / "absent.npz")


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"fingerprint": {}, "hash": 3}'])
def test_a_damaged_done_json_is_named_with_the_command(fold: Path, damage: str) -> None:
    path = fold / "finetune.done.json"
    path.write_text(damage)
    with pytest.raises(UserError, match=r"finetune\.done\.json .*finetune\.py .* --fold 3 --force` makes it anew"):
        read_done(path)
    assert len(list(damages(path))) == 1


def test_a_changed_number_in_done_json_is_found_by_its_checksum(fold: Path) -> None:
    path = fold / "finetune.done.json"
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(UserError, match="has changed since it was written"):
        read_done(path)


def test_a_folder_in_place_of_a_file_is_said(fold: Path) -> None:
    for name in ("finetune.done.json", FILES[0], "decision.json"):
        shutil.rmtree(fold / name, ignore_errors=True)
        (fold / name).unlink(missing_ok=True)
        (fold / name).mkdir()
    with pytest.raises(UserError, match=r"finetune\.done\.json cannot be read \(a folder is in its place\)"):
        read_done(fold / "finetune.done.json")
    with pytest.raises(UserError, match=r"decision\.json cannot be read \(a folder is in its place\)"):
        read_result(fold / "decision.json")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("epoch,passes,seconds\n1,20,0.5\n2,2", "line 3 has 2 cells"),
        ("epoch,passes,seconds\n1,20,0.5\n2,20,x\n", "holds what are no numbers"),
        ("epoch,passes\n1,20\n", "has no column seconds"),
        ("", "is empty"),
        ("\0\0\0", "line 1 holds a zero byte"),
    ],
)
def test_a_damaged_log_is_named_with_the_command_and_that_it_can_go(fold: Path, text: str, said: str) -> None:
    path = fold / "finetune.csv"
    assert read_epochs(path, ["passes", "seconds"])["passes"].sum() == 40
    path.write_text(text)
    with pytest.raises(UserError, match=r"finetune\.csv has changed since .* --force` makes it anew; or delete it"):
        read_epochs(path, ["passes", "seconds"])
    done_file = fold / "finetune.done.json"  # of an earlier version, which did not describe logs
    content = {"fingerprint": {}, "hash": digest([{}, {FILES[0]: sha256_file(fold / FILES[0])}]), "seconds": 1}
    done_file.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"finetune\.csv {said}.* --force` makes it anew; or delete it"):
        read_epochs(path, ["passes", "seconds"])


def test_a_file_is_hashed_once_as_long_as_it_stays_as_it_is(fold: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hashed = list[Path]()

    def counted(path: Path) -> str:
        hashed.append(path)
        return sha256_file(path)

    monkeypatch.setattr(done, "sha256_file", counted)
    for _ in range(3):
        intact(fold / FILES[0])
    assert len(hashed) == 1
