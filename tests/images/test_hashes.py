"""A file is read again only when it has changed."""

import os
import socket
from pathlib import Path

import pytest

from supcon.errors import UserError
from supcon.images import hashes
from supcon.images.decode import decode
from supcon.images.hashes import content_hashes, images_digest
from supcon.storage.files import digest, sha256_file


def write(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).write_bytes(name.encode())
    return [folder / name for name in names]


def test_a_changed_file_changes_the_digest_and_an_unchanged_one_is_not_read_again(tmp_path: Path) -> None:
    files = write(tmp_path, "a", "b")
    first = content_hashes(tmp_path / "cache", files)
    assert first == [sha256_file(file) for file in files]
    stamp = (tmp_path / "cache" / "hashes.csv").stat().st_mtime_ns
    assert content_hashes(tmp_path / "cache", files) == first
    assert (tmp_path / "cache" / "hashes.csv").stat().st_mtime_ns == stamp
    files[1].write_bytes(b"changed")
    second = content_hashes(tmp_path / "cache", files)
    assert second[0] == first[0]
    assert images_digest(["a", "b"], second) != images_digest(["a", "b"], first)


def test_only_new_files_are_read_and_the_others_stay_known(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ["a", 'quote " and, comma', "line\nend", "é", "NA"]
    files = write(tmp_path, *names)
    first = content_hashes(tmp_path / "cache", files)
    new = write(tmp_path, "new")
    read: list[str] = []
    true = hashes._sha256
    monkeypatch.setattr(hashes, "_sha256", lambda path, size: read.append(path) or true(path, size))  # type: ignore[func-returns-value]
    content_hashes(tmp_path / "cache", new)  # these alone: the others are not forgotten
    assert content_hashes(tmp_path / "cache", [*new, *files, files[0]])[1:] == [*first, first[0]]
    assert read == [str(new[0])]


def test_a_large_file_has_the_hash_of_all_its_bytes(tmp_path: Path) -> None:
    (tmp_path / "large").write_bytes(bytes(hashes._SMALL + 5))
    assert content_hashes(tmp_path / "cache", [tmp_path / "large"]) == [sha256_file(tmp_path / "large")]


def test_rubbish_in_the_index_is_as_good_as_nothing(tmp_path: Path) -> None:
    files = write(tmp_path, "a", "b")
    first = content_hashes(tmp_path / "cache", files)
    index = tmp_path / "cache" / "hashes.csv"
    whole = index.read_bytes()
    for rubbish in (
        *(b"", b"\xff\x00\xfe,,\n\n", whole[:-30], b'"' + whole, bytes(len(whole)), whole + bytes(999)),
        *(b'"' + whole + b"x" * 200_000, whole.replace(b",", b'"'), whole[:-65] + b"z" * 64 + b"\n"),
    ):
        index.write_bytes(rubbish)
        assert content_hashes(tmp_path / "cache", files) == first


def test_a_file_that_is_not_there_has_its_reason_for_a_hash_until_it_is(tmp_path: Path) -> None:
    (tmp_path / "linked").symlink_to("gone")
    files = [*write(tmp_path, "a"), tmp_path / "gone", tmp_path / "linked"]
    for _ in range(2):
        hashed = content_hashes(tmp_path / "cache", files)
        assert hashed[1:] == ["absent: no such file", "absent: link without a target"]
    files[1].write_bytes(b"now")
    assert content_hashes(tmp_path / "cache", files)[1:] == [sha256_file(files[1])] * 2


def test_a_stray_quote_costs_no_more_than_the_rows_that_it_swallows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = write(tmp_path, "a", "b", "c")
    first = content_hashes(tmp_path / "cache", files)
    index = tmp_path / "cache" / "hashes.csv"
    head, *rows = index.read_text().splitlines(keepends=True)
    index.write_text("".join([head, '"', "x" * 200_000, "\n", *rows]))  # longer than a cell may be
    read: list[str] = []
    monkeypatch.setattr(hashes, "_sha256", lambda path, size: read.append(path) or sha256_file(Path(path)))  # type: ignore[func-returns-value]
    assert content_hashes(tmp_path / "cache", files) == first
    assert len(read) < 3
    assert content_hashes(tmp_path / "cache", files) == first


@pytest.mark.parametrize("kind", ["FIFO", "zeros", "socket", "folder"])
def test_what_is_no_regular_file_is_named_and_not_waited_for(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.png"
    if kind == "FIFO":
        os.mkfifo(path)
    elif kind == "zeros":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    else:
        monkeypatch.chdir(tmp_path)  # a socket's path must be short
        socket.socket(socket.AF_UNIX).bind("a.png")
    with pytest.raises(UserError, match=r"a\.png cannot be read: (not a regular file|it is a folder|No such dev)"):
        decode(path)


def test_a_name_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="not UTF-8: rename it"):
        content_hashes(tmp_path / "cache", [tmp_path / "\udcff.png"])


def test_the_digest_is_that_of_the_sorted_rows_made_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("supcon.storage.files._ROWS", 3)
    for count in (0, 1, 3, 8):
        paths, contents = [f'{number} "é".png' for number in range(count)][::-1], [str(n) * 64 for n in range(count)]
        assert images_digest(paths, contents) == digest(sorted(zip(paths, contents, strict=True)))
