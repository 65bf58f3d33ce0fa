"""What lies in the place of a file is named, and nothing is waited for."""

import os
import socket
from pathlib import Path

import pytest

from supcon.storage.pointers import HEAD, absence, pointer, regular


def test_a_file_that_is_not_there_gets_its_reason(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(b"x")
    (tmp_path / "linked").symlink_to("whole")
    (tmp_path / "annex").symlink_to("../.git/annex/objects/f0/Z1/SHA256E-s9.png")
    (tmp_path / "cached").symlink_to("/nowhere/.dvc/cache/files/md5/00")
    (tmp_path / "broken").symlink_to("nothing")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    reasons = {path.name: absence(str(path)) for path in tmp_path.iterdir()}
    assert reasons == {
        "whole": "",
        "linked": "",
        "annex": "link without a target; git-annex: fetch them with `git annex get`",
        "cached": "link without a target; DVC: fetch them with `dvc pull`",
        "broken": "link without a target",
        "loop": "link without a target",
        "pipe": "not a regular file",
        "zeros": "not a regular file",
    }
    assert absence(str(tmp_path / "none")) == absence(str(tmp_path / "whole" / "none")) == "no such file"


def test_only_regular_files_are_opened_and_none_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "whole").write_bytes(b"x")
    with open(tmp_path / "whole", "rb", opener=regular) as file:
        assert file.read() == b"x"
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zeros").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    for name in ("pipe", "zeros", "socket", "."):
        with (
            pytest.raises(OSError, match="not a regular file|a folder|No such device"),
            open(tmp_path / name, opener=regular),
        ):
            pass


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        (b"/annex/objects/SHA256E-s31390--f50d7ac4.png\n", "git annex get"),
        (b"../../.git/annex/objects/f0/Z1/SHA256E-s9.png", "git annex get"),  # a link that was checked out as a file
        (b"\x89PNG\r\n\x1a\n", ""),
        (b"version 2\n", ""),
        (b"", ""),
    ],
)
def test_pointers_are_known_by_their_first_bytes(head: bytes, reason: str) -> None:
    assert reason in pointer(head[:HEAD])
    assert bool(reason) == bool(pointer(head[:HEAD]))
