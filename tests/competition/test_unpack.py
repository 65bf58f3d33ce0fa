"""The host's zips: unpacked once, and never beyond their folder."""

import shutil
import stat
import struct
import zipfile
from pathlib import Path

import pytest

from supcon.competition import unpack
from supcon.competition.unpack import unpack_zips
from supcon.errors import UserError
from tests.competition.conftest import Read, write_images


def zip_of(path: Path, source: Path) -> None:
    shutil.make_archive(str(path.with_suffix("")), "zip", source)


@pytest.fixture
def host(tmp_path: Path) -> Path:
    """What the host has packed."""
    path = tmp_path / "host"
    write_images(path, ["train/x/1.png", "train/y/2.png", "test/3.png"])
    (path / "sample_submission.csv").write_text("id,label\n3,x\n")
    return path


def test_the_zip_as_downloaded_is_enough(folder: Path, read: Read, host: Path) -> None:
    zip_of(folder / "leaves.zip", host)
    competition = read()
    assert competition.train["id"].tolist() == ["x/1.png", "y/2.png"]
    assert all(file.is_file() for file in competition.files)
    before = sorted((folder.parent / "cache").iterdir())
    read()
    assert sorted((folder.parent / "cache").iterdir()) == before  # once
    assert [path.name for path in folder.iterdir()] == ["leaves.zip"]  # input/ is read only


def test_a_zip_a_part_and_zips_within_are_unpacked(folder: Path, read: Read, host: Path, tmp_path: Path) -> None:
    flat = tmp_path / "flat"
    for part, names in {"train": ["1", "2"], "test": ["3"]}.items():
        write_images(flat / part, [f"{name}.png" for name in names])
        zip_of(tmp_path / "pack" / f"{part}.zip", flat / part)  # images without a folder: the zip's name is theirs
    (tmp_path / "pack" / "train.csv").write_text("id,label\n1,x\n2,y\n")
    (tmp_path / "pack" / "sample_submission.csv").write_text("id,label\n3,x\n")
    zip_of(folder / "whole.zip", tmp_path / "pack")
    assert read().paths == ["train/1.png", "train/2.png", "test/3.png"]


@pytest.mark.parametrize("where", [".", "leaves"])
def test_a_zip_that_is_unpacked_beside_itself_is_passed_over(folder: Path, host: Path, where: str) -> None:
    zip_of(folder / "leaves.zip", host)
    shutil.copytree(host, folder / where, dirs_exist_ok=True)
    assert unpack_zips(folder, folder.parent / "cache") is None


def bad_zip(path: Path, name: str, data: bytes = b"x", link: bool = False) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        info = zipfile.ZipInfo(name)
        if link:
            info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, data, compress_type=zipfile.ZIP_DEFLATED)


def patch_sizes(path: Path, size: int) -> None:
    """Declare another unpacked size, in the local header and in the directory."""
    content = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        struct.pack_into("<I", content, content.index(mark) + offset, size)
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("name", ["../evil.png", "a/../../evil.png", "/etc/evil.png", "..\\evil.png", "C:/evil.png"])
def test_a_path_that_leads_out_is_refused(folder: Path, name: str) -> None:
    bad_zip(folder / "z.zip", name)
    with pytest.raises(UserError, match=r"z\.zip holds the path .* which leads out"):
        unpack_zips(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cache", "input"]


def test_links_passwords_and_double_names_are_refused(folder: Path) -> None:
    bad_zip(folder / "z.zip", "train/link.png", b"/etc/passwd", link=True)
    with pytest.raises(UserError, match="a link"):
        unpack_zips(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "a.png")
    content = bytearray((folder / "z.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    (folder / "z.zip").write_bytes(bytes(content))
    with pytest.raises(UserError, match="has a password"):
        unpack_zips(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "train/a.png")
    bad_zip(folder / "y.zip", "train/a.png")
    with pytest.raises(UserError, match=r"'train/a\.png' stands in the zips beside it twice"):
        unpack_zips(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))


def test_a_damaged_zip_is_refused_at_any_truncation(folder: Path, host: Path) -> None:
    zip_of(folder / "z.zip", host)
    whole = (folder / "z.zip").read_bytes()
    for length in range(0, len(whole), 97):
        (folder / "z.zip").write_bytes(whole[:length])
        with pytest.raises(UserError, match="download it again"):
            unpack_zips(folder, folder.parent / "cache")
    broken = bytearray(whole)
    broken[whole.index(b"sample_submission.csv") + 30] ^= 0xFF  # within that file
    (folder / "z.zip").write_bytes(bytes(broken))
    with pytest.raises(UserError, match=r"z\.zip.*again"):
        unpack_zips(folder, folder.parent / "cache")


def test_a_bomb_is_refused_by_what_it_declares_and_by_what_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_zip(folder / "z.zip", "a.png", b"\0" * 1_000_000)
    monkeypatch.setattr(unpack, "_BOMB_BYTES", 100_000)
    with pytest.raises(UserError, match="looks like a zip bomb"):
        unpack_zips(folder, folder.parent / "cache")
    patch_sizes(folder / "z.zip", 10)
    with pytest.raises(UserError, match=r"'a\.png' is damaged"):
        unpack_zips(folder, folder.parent / "cache")
    monkeypatch.setattr(unpack, "_SPARED", 2**62)
    with pytest.raises(UserError, match="GB are free below"):
        unpack_zips(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))


def test_damage_is_named_whatever_the_compression(folder: Path) -> None:
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with zipfile.ZipFile(folder / "z.zip", "w", method) as archive:
            archive.writestr("a.png", bytes(range(256)) * 9)
        whole = (folder / "z.zip").read_bytes()
        start = whole.index(b"a.png") + 5
        for place in range(start + 9, start + 40):
            (folder / "z.zip").write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
            with pytest.raises(UserError, match=r"z\.zip: 'a\.png' is damaged .*: download the zip again"):
                unpack_zips(folder, folder.parent / "cache")
        assert not list((folder.parent / "cache").glob("*unpacked*"))


def test_a_zip_of_a_later_version_and_a_name_no_file_can_have_are_refused(folder: Path) -> None:
    bad_zip(folder / "z.zip", "a" * 300 + ".png")
    with pytest.raises(UserError, match="could not be written: File name too long"):
        unpack_zips(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "a.png")
    content = bytearray((folder / "z.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 255
    (folder / "z.zip").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"not a whole zip file \(zip file version 25.5\)"):
        unpack_zips(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "a.png")
    content = bytearray((folder / "z.zip").read_bytes())
    content[content.rindex(b"a.png")] = 0  # a name ends at a zero byte
    (folder / "z.zip").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"not a whole zip file \(a file in it has no name\)"):
        unpack_zips(folder, folder.parent / "cache")
