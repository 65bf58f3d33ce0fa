"""Archives of every kind, and pieces of them."""

import io
import shutil
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.awkward.case import Case
from tests.awkward.names import german, named


class Unsaid(zipfile.ZipInfo):
    """A member with the bytes of its name in cp437, as those that do not say that they are UTF-8."""

    def _encodeFilenameFlags(self) -> tuple[bytes, int]:  # noqa: N802
        return self.filename.encode("cp437"), 0


def zipped(folder: Path, *names: str) -> bytes:
    """Move files and folders into a zip; return its bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for path in sorted(path for name in names for path in [folder / name, *(folder / name).rglob("*")]):
            if path.is_file():
                archive.writestr(path.relative_to(folder).as_posix(), path.read_bytes())
    remove(folder, *names)
    content = buffer.getvalue()
    (folder / "bugs.zip").write_bytes(content)
    return content


def remove(folder: Path, *names: str) -> None:
    for name in names:
        shutil.rmtree(folder / name) if (folder / name).is_dir() else (folder / name).unlink()


def tarred(suffix: str, mode: str, *, dots: bool = False, together: bool = False) -> Callable[[Path], None]:
    """Move train/ and test/ into tars, or all into one."""

    def change(folder: Path) -> None:
        contents = (
            {"bugs": [path.name for path in folder.iterdir()]} if together else {n: [n] for n in ("train", "test")}
        )
        for target, names in contents.items():
            with tarfile.open(folder / f"{target}{suffix}", mode) as archive:  # type: ignore[call-overload]
                for name in names:
                    archive.add(folder / name, f"./{name}" if dots else name)
            remove(folder, *names)

    return change


def flat_tar(folder: Path) -> None:
    """The tars hold images without a folder."""
    for part in ("train", "test"):
        with tarfile.open(folder / f"{part}.tgz", "w:gz") as archive:
            for path in sorted((folder / part).iterdir()):
                archive.add(path, path.name)
        remove(folder, part)


def tar_in_zip(folder: Path) -> None:
    tarred(".tar.gz", "w:gz")(folder)
    zipped(folder, "train.tar.gz", "test.tar.gz", "train.csv")


def beside_deep_tables(folder: Path) -> None:
    tar_in_zip(folder)
    (folder / "competitions" / "bugs").mkdir(parents=True)
    for name in ("bugs.zip", "sample_submission.csv"):
        (folder / name).rename(folder / "competitions" / "bugs" / name)


def pieces(*names: str) -> Callable[[Path], None]:
    """Leave the pieces of an archive in the place of the images."""

    def change(folder: Path) -> None:
        remove(folder, "train")
        for name in names:
            (folder / name).write_bytes(b"a piece")

    return change


def unneeded(folder: Path) -> None:
    """What was unpacked by hand lies beside the archive that it came from."""
    (folder / "train.7z").write_bytes(b"7z")


def member_names(encoding: str, text: Callable[[int], str]) -> Callable[[Path], None]:
    """Zip images whose names are written in an encoding, and do not say so."""

    def change(folder: Path) -> None:
        named(lambda stem: text(int(stem[3:])), text)(folder)
        content = zipped(folder, "train", "test")
        renamed = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(renamed, "w") as new:
            for member in old.infolist():
                new.writestr(Unsaid(member.filename.encode(encoding).decode("cp437")), old.read(member))
        (folder / "bugs.zip").write_bytes(renamed.getvalue())

    return change


def damaged_within(folder: Path) -> None:
    content = bytearray(zipped(folder, "train", "test", "train.csv"))
    middle = len(content) // 2
    content[middle : middle + 300] = b"<html>403</html>".ljust(300)
    (folder / "bugs.zip").write_bytes(content)


def cut_tar(folder: Path) -> None:
    tarred(".tar", "w", together=True)(folder)
    content = (folder / "bugs.tar").read_bytes()
    (folder / "bugs.tar").write_bytes(content[: len(content) // 1024 * 512])


def as_pointer(folder: Path) -> None:
    zipped(folder, "train", "test")
    (folder / "bugs.zip").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n")


CASES = [
    Case("tar.gz", tarred(".tar.gz", "w:gz")),
    Case("tgz in capitals", tarred(".TGZ", "w:gz")),
    Case("tar", tarred(".tar", "w", dots=True)),
    Case("tar.bz2", tarred(".tar.bz2", "w:bz2")),
    Case("tar.xz", tarred(".tar.xz", "w:xz", together=True)),
    Case("a tar of images without a folder", flat_tar),
    Case("tars in a zip", tar_in_zip),
    Case("archives beside deep tables", beside_deep_tables),
    Case("a cut tar", cut_tar, asks=r"bugs\.tar.*(download it again|download the tar again)"),
    Case("a zip damaged within", damaged_within, asks=r"bugs\.zip: '.*' is damaged .*: download the zip again"),
    Case("a zip that is a pointer", as_pointer, asks=r"bugs\.zip is no zip file \(Git LFS pointers: fetch them"),
    Case(
        ".zip.001",
        pieces("train.zip.001", "train.zip.002"),
        asks=r"train\.zip\.001 is a piece .*`cat .*/train\.zip\.\?\?\? > .*/train\.zip`",
    ),
    Case(
        ".tar.gz.aa",
        pieces("train.tar.gz.aa", "train.tar.gz.ab"),
        asks=r"`cat .*/train\.tar\.gz\.\?\? > .*/train\.tar\.gz`",
    ),
    Case(
        ".z01",
        pieces("train.z01", "train.zip"),
        asks=r"train\.z01 is a piece .*`zip -s 0 .*/train\.zip --out .*/train-joined\.zip`",
    ),
    Case(".part1.rar", pieces("train.part1.rar", "train.part2.rar"), asks=r"`unrar x .*/train\.part1\.rar .*/`"),
    Case(".rar", pieces("train.rar"), asks=r"`unrar x .*/train\.rar .*/`"),
    Case(".7z", pieces("train.7z"), asks=r"`7z x .*/train\.7z -o.*`"),
    Case(".7z.001", pieces("train.7z.001", "train.7z.002"), asks=r"`7z x .*/train\.7z\.001 -o.*`"),
    Case("DVC", pieces("train.dvc"), asks=r"train\.dvc stands for files .*`dvc pull`"),
    Case("an archive that is not needed", unneeded),
    Case("member names in UTF-8, unsaid", member_names("utf-8", german)),
    Case("member names in cp1252", member_names("cp1252", german), says=r"30 images .*\(code page\)"),
    Case("member names in cp932", member_names("cp932", "虫{}".format), says=r"30 images .*\(code page\)"),
    Case("member names in cp866", member_names("cp866", "жук{}".format), says=r"30 images .*\(code page\)"),
]
