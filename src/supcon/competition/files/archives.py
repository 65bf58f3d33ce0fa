"""Zips and tars seen alike: their members, what speaks against unpacking one, and their contents."""

import bz2
import gzip
import lzma
import re
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from supcon.competition.files.packed import join_zip
from supcon.errors import UserError
from supcon.storage.pointers import HEAD, pointer, regular

_TAR = re.compile(r"\.(tar(\.(gz|bz2|xz))?|tgz|tbz2?|txz)$", re.IGNORECASE)
_OPENERS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\0": lzma.open}
_BLOCK = 512  # bytes: a tar ends with one of zeros
_LARGEST_READ = 2**24  # bytes at a time: a header of a tar may ask for more than there is memory
DAMAGED = (  # what zipfile, tarfile and the decompressors raise at damaged bytes
    zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError
)  # fmt: skip


def archive_kind(name: str) -> str:
    """Return "zip" or "tar" by a file's name; "" for what is no archive."""
    return "zip" if name.lower().endswith(".zip") else "tar" if _TAR.search(name) else ""


def stem_of(name: str) -> str:
    """Return an archive's name without its suffix."""
    return _TAR.sub("", name) if archive_kind(name) == "tar" else name[: -len(".zip")]


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    name: str  # with forward slashes
    size: int  # bytes, unpacked
    info: Any  # what the archive knows it by
    flaw: str = ""  # why it is not unpacked


class Archive:
    """An open zip or tar. Raises `UserError` where it is not a whole one, here or while its members are listed."""

    def __init__(self, path: Path) -> None:
        self._path, self.kind = path, archive_kind(path.name)
        try:
            with path.open("rb") as file:
                head = file.read(HEAD)
            if head.startswith((b"PK\x03\x04", *_OPENERS)):  # some are called otherwise
                self.kind = "zip" if head.startswith(b"PK") else "tar"
            self._file: Any = zipfile.ZipFile(path) if self.kind == "zip" else _open_tar(path)
        except (*DAMAGED, OSError) as error:
            raise self._broken(error) from None

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *_: object) -> None:
        if self.kind == "tar":
            self._file.fileobj.close()
        self._file.close()

    def members(self) -> Iterator[Member]:
        """Yield the files in the archive."""
        try:
            yield from _members_of_zip(self._file) if self.kind == "zip" else _members_of_tar(self._file)
        except (*DAMAGED, OSError) as error:
            raise self._broken(error) from None

    def open(self, member: Member) -> IO[bytes]:
        """Open a member for reading; no more is read than the size that it declares."""
        opened: IO[bytes] = self._file.open(member.info) if self.kind == "zip" else self._file.extractfile(member.info)
        return opened

    def _broken(self, error: Exception) -> UserError:
        with suppress(OSError), open(self._path, "rb", opener=regular) as file:
            if reason := pointer(file.read(HEAD)):
                return UserError(f"{self._path} is no {self.kind} file ({reason})")
        if advice := join_zip(self._path):
            return UserError(advice)
        return UserError(f"{self._path} is not a whole {self.kind} file ({error}): download it again")


def _members_of_zip(file: zipfile.ZipFile) -> Iterator[Member]:
    if "" in file.namelist():
        raise zipfile.BadZipFile("a file in it has no name")
    for info in file.infolist():
        if info.is_dir():
            continue
        name = info.filename
        with suppress(UnicodeError):  # by the standard it is cp437, but many write UTF-8 and do not say so
            if not info.flag_bits & 0x800:
                name = name.encode("cp437").decode("utf-8")
        flaw = "a link" if stat.S_ISLNK(info.external_attr >> 16) else "encrypted" if info.flag_bits & 1 else ""
        yield Member(name.replace("\\", "/"), info.file_size, info, flaw)  # some writers part paths by backslashes


def _members_of_tar(file: tarfile.TarFile) -> Iterator[Member]:
    for info in file:
        name, written = info.name, info.name.encode("utf-8", "surrogateescape")
        if name.encode("utf-8", "replace") != written:  # no UTF-8: which code page it is, is left to `loose_names`
            name = written.decode("cp437")
        flaw = "a link" if info.islnk() or info.issym() else "" if info.isreg() else "a device or a pipe"
        if not info.isdir():
            yield Member(re.sub(r"^(\./+)+", "", name), info.size, info, flaw)
    assert file.fileobj is not None
    file.fileobj.seek(file.offset)
    if file.fileobj.read(_BLOCK).strip(b"\0") or file.fileobj.tell() < file.offset + _BLOCK:
        raise tarfile.ReadError("it ends too soon")  # tarfile takes a damaged header for the end
    file.fileobj.read(_LARGEST_READ)  # the decompressor compares its checksum at the end


def _open_tar(path: Path) -> tarfile.TarFile:
    with path.open("rb") as file:
        head = file.read(HEAD)
    opener = next((opener for magic, opener in _OPENERS.items() if head.startswith(magic)), open)
    content = opener(path, "rb")
    try:
        return tarfile.TarFile(fileobj=_Bounded(content), encoding="utf-8", errors="surrogateescape")  # type: ignore[arg-type]
    except BaseException:
        content.close()
        raise


class _Bounded:
    """A file of which no more is read at a time than fits in memory."""

    def __init__(self, file: Any) -> None:
        self._file = file
        self.seek, self.tell, self.close = file.seek, file.tell, file.close

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_READ:
            raise tarfile.ReadError("a header is too long")
        content: bytes = self._file.read(size)
        return content
