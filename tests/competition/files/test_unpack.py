"""The host's archives: unpacked once, and never beyond their folder."""

import io
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from supcon.competition.files import unpack
from supcon.competition.files.unpack import unpack_archives
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
    assert unpack_archives(folder, folder.parent / "cache") is None


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
        unpack_archives(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cache", "input"]


def test_links_passwords_and_double_names_are_refused(folder: Path) -> None:
    bad_zip(folder / "z.zip", "train/link.png", b"/etc/passwd", link=True)
    with pytest.raises(UserError, match="a link"):
        unpack_archives(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "a.png")
    content = bytearray((folder / "z.zip").read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(mark) + offset] |= 1
    (folder / "z.zip").write_bytes(bytes(content))
    with pytest.raises(UserError, match="has a password"):
        unpack_archives(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "train/a.png")
    bad_zip(folder / "y.zip", "train/a.png")
    with pytest.raises(UserError, match=r"'train/a\.png' stands in the zips beside it twice"):
        unpack_archives(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))


def test_a_damaged_zip_is_refused_at_any_truncation(folder: Path, host: Path) -> None:
    zip_of(folder / "z.zip", host)
    whole = (folder / "z.zip").read_bytes()
    for length in range(0, len(whole), 97):
        (folder / "z.zip").write_bytes(whole[:length])
        with pytest.raises(UserError, match="download it again"):
            unpack_archives(folder, folder.parent / "cache")
    broken = bytearray(whole)
    broken[whole.index(b"sample_submission.csv") + 30] ^= 0xFF  # within that file
    (folder / "z.zip").write_bytes(bytes(broken))
    with pytest.raises(UserError, match=r"z\.zip.*again"):
        unpack_archives(folder, folder.parent / "cache")


def test_a_bomb_is_refused_by_what_it_declares_and_by_what_it_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bad_zip(folder / "z.zip", "a.png", b"\0" * 1_000_000)
    monkeypatch.setattr(unpack, "_BOMB_BYTES", 100_000)
    with pytest.raises(UserError, match="looks like a zip bomb"):
        unpack_archives(folder, folder.parent / "cache")
    patch_sizes(folder / "z.zip", 10)
    with pytest.raises(UserError, match=r"'a\.png' is damaged"):
        unpack_archives(folder, folder.parent / "cache")
    monkeypatch.setattr(unpack, "_SPARED", 2**62)
    with pytest.raises(UserError, match="are free below"):
        unpack_archives(folder, folder.parent / "cache")
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
                unpack_archives(folder, folder.parent / "cache")
        assert not list((folder.parent / "cache").glob("*unpacked*"))


def test_a_zip_of_a_later_version_and_a_name_no_file_can_have_are_refused(folder: Path) -> None:
    bad_zip(folder / "z.zip", "a" * 300 + ".png")
    with pytest.raises(UserError, match="could not be written: File name too long"):
        unpack_archives(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "a.png")
    content = bytearray((folder / "z.zip").read_bytes())
    content[content.index(b"PK\x01\x02") + 6] = 255
    (folder / "z.zip").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"not a whole zip file \(zip file version 25.5\)"):
        unpack_archives(folder, folder.parent / "cache")
    bad_zip(folder / "z.zip", "a.png")
    content = bytearray((folder / "z.zip").read_bytes())
    content[content.rindex(b"a.png")] = 0  # a name ends at a zero byte
    (folder / "z.zip").write_bytes(bytes(content))
    with pytest.raises(UserError, match=r"not a whole zip file \(a file in it has no name\)"):
        unpack_archives(folder, folder.parent / "cache")


def tar_of(path: Path, *members: tarfile.TarInfo, mode: str = "w:gz") -> None:
    """Write a tar of members that are what their headers say; files hold zeros."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for member in members:
            archive.addfile(member, io.BytesIO(bytes(member.size)) if member.isreg() else None)


def member(name: str, size: int = 1, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.type, info.linkname = size * (kind == tarfile.REGTYPE), kind, link
    return info


@pytest.mark.parametrize(
    ("odd", "reason"),
    [
        (member("../evil.png"), "leads out"),
        (member("/etc/evil.png"), "leads out"),
        (member("train/../../evil.png"), "leads out"),
        (member("train/a.png", kind=tarfile.SYMTYPE, link="/etc/passwd"), "a link"),
        (member("train/a.png", kind=tarfile.LNKTYPE, link="/etc/passwd"), "a link"),
        (member("train/a.png", kind=tarfile.FIFOTYPE), "a device or a pipe"),
        (member("train/a.png", kind=tarfile.CHRTYPE), "a device or a pipe"),
        (member("train/a.png", kind=tarfile.BLKTYPE), "a device or a pipe"),
    ],
)
def test_a_tar_gives_nothing_but_files_and_nothing_outside(folder: Path, odd: tarfile.TarInfo, reason: str) -> None:
    tar_of(folder / "t.tar.gz", member("train/1.png"), odd)
    with pytest.raises(UserError, match=rf"t\.tar\.gz holds .*{reason}.*not unpacked"):
        unpack_archives(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))
    assert sorted(path.name for path in folder.parent.iterdir()) == ["cache", "input"]


@pytest.mark.parametrize(
    ("suffix", "mode"), [(".tar", "w"), (".tar.gz", "w:gz"), (".tar.bz2", "w:bz2"), (".txz", "w:xz")]
)
def test_a_damaged_tar_is_refused_at_any_truncation_and_change(folder: Path, suffix: str, mode: str) -> None:
    path = folder / f"t{suffix}"
    tar_of(path, member("train/1.png", 3000), member("train/2.png", 10), mode=mode)
    whole = path.read_bytes()
    end = whole.rindex(b"train/2.png") + 1024 if suffix == ".tar" else len(whole)  # zeros follow
    for length in range(0, end, max(1, end // 40)):
        path.write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"download (it|the tar) again"):
            unpack_archives(folder, folder.parent / "cache")
    if suffix == ".tar":
        second = whole.rindex(b"train/2.png")
        path.write_bytes(whole[:second] + b"X" + whole[second + 1 :])  # a damaged header is not the end
        with pytest.raises(UserError, match="not a whole tar file .*: download it again"):
            unpack_archives(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))


def test_a_tar_that_is_unpacked_beside_itself_is_passed_over(folder: Path, host: Path) -> None:
    with tarfile.open(folder / "leaves.tar.gz", "w:gz") as archive:
        archive.add(host, ".")
    shutil.copytree(host, folder / "leaves")
    assert unpack_archives(folder, folder.parent / "cache") is None


def test_the_limit_of_bombs_is_one_sum_over_all_archives(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unpack, "_BOMB_BYTES", 2_000_000)
    for number in range(4):  # none of them is too large alone
        bad_zip(folder / f"{number}.zip", f"{number}.bin", b"\0" * 900_000)
    with pytest.raises(
        UserError, match=r"2\.zip would unpack .* with what was unpacked before.* looks like a zip bomb"
    ):
        unpack_archives(folder, folder.parent / "cache")
    for path in folder.iterdir():
        path.unlink()
    inner = [zipped_zeros(name) for name in ("a", "b", "c")]
    with zipfile.ZipFile(folder / "z.zip", "w") as archive:
        for number, content in enumerate(inner):
            archive.writestr(f"{number}.zip", content)
    with pytest.raises(UserError, match="looks like a zip bomb"):
        unpack_archives(folder, folder.parent / "cache")
    (folder / "z.zip").unlink()
    tar_of(folder / "t.tar.gz", *(member(f"{number}.bin", 900_000) for number in range(3)))
    with pytest.raises(UserError, match="looks like a zip bomb"):
        unpack_archives(folder, folder.parent / "cache")
    assert not list((folder.parent / "cache").glob("*unpacked*"))


def zipped_zeros(name: str) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(f"{name}.bin", b"\0" * 900_000)
    return buffer.getvalue()


def test_a_header_that_asks_for_more_than_there_is_memory_is_refused(folder: Path) -> None:
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 2**32
    (folder / "t.tar").write_bytes(header.tobuf() + bytes(10_240))
    with pytest.raises(UserError, match=r"a header is too long"):
        unpack_archives(folder, folder.parent / "cache")


def test_names_of_a_tar_in_another_code_page_are_kept(folder: Path) -> None:
    with tarfile.open(folder / "t.tar", "w", encoding="cp1252", format=tarfile.GNU_FORMAT) as archive:
        archive.addfile(member("train/é.png"), io.BytesIO(b"x"))
    unpacked = unpack_archives(folder, folder.parent / "cache")
    assert unpacked is not None
    assert [path.name for path in unpacked.rglob("*.png")] == [b"\xe9".decode("cp437") + ".png"]
