"""The host's zips, unpacked into cache/ where nothing can leave, overwrite or flood."""

import lzma
import os
import shutil
import stat
import struct
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from supcon.competition.index import is_image
from supcon.errors import UserError
from supcon.storage import lock
from supcon.storage.files import digest
from supcon.storage.sizes import bytes_text

_BOMB_RATIO, _BOMB_BYTES = 100, 2**30  # more than 100 to 1 and more than 1 GiB: no host's images shrink like that
_DEPTH = 2  # zips within zips
_SPARED = 2**28  # bytes of the disk that stay free
_CHUNK = 2**20
_DAMAGED = (  # what zipfile and the decompressors raise at damaged bytes
    zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, RuntimeError, ValueError
)  # fmt: skip


def unpack_zips(folder: Path, cache: Path) -> Path | None:
    """Unpack the zips that lie in `folder` (not deeper) and return where; None without any.

    Done once for a zip of a name, size and modification time. A zip whose files already lie in `folder`, or in a
    folder of its name, is passed over. Zips within are unpacked too. Raises `UserError`, with nothing left behind, for
    a zip that is damaged, has a password, would fill the disk, is a bomb, or holds links or paths that lead out.
    """
    zips = [path for path in sorted(folder.glob("*.zip")) if path.is_file()]
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in zips]
    unpacked = cache / f"unpacked-{digest(facts)[:16]}"
    if not unpacked.exists():
        zips = [path for path in zips if not _is_unpacked(path)]
        if not zips:
            return None
        with lock.alone(cache / ".unpack.lock", f"unpacking {zips[0]}"):
            if not unpacked.exists():
                _unpack_all(zips, unpacked)
    return unpacked


def _unpack_all(zips: list[Path], unpacked: Path) -> None:
    partial = unpacked.with_name(f".{unpacked.name}")
    shutil.rmtree(partial, ignore_errors=True)  # of a killed process
    try:
        partial.mkdir(parents=True)
        for path in zips:
            _unpack(path, partial, _DEPTH)
        partial.rename(unpacked)
    except OSError as error:
        raise UserError(f"{unpacked} could not be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_unpacked(path: Path) -> bool:
    """Say whether all files of a zip lie beside it already, or in a folder of its name."""
    names = [member.filename for member in _open(path).infolist() if not member.is_dir()]
    return any(all(os.path.isfile(base / name) for name in names) for base in (path.parent, path.with_suffix("")))


def _unpack(path: Path, target: Path, depth: int) -> None:
    with _open(path) as archive:
        members = [member for member in archive.infolist() if not member.is_dir() and not _is_clutter(member.filename)]
        _check_size(path, members, target)
        loose = any("/" not in member.filename and is_image(member.filename) for member in members)
        base = target / path.stem if loose else target  # images without a folder get one of the zip's name
        for member in tqdm(members, f"unpack {path.name}", unit="file", disable=None, leave=False):
            _extract(path, archive, member, base)
    for member in members:
        if member.filename.lower().endswith(".zip"):
            if depth == 0:
                raise UserError(f"{path} holds zips within zips within zips: unpack it by hand into {path.parent}")
            inner = base / member.filename
            _unpack(inner, inner.parent, depth - 1)
            inner.unlink()


def _open(path: Path) -> zipfile.ZipFile:
    try:
        archive = zipfile.ZipFile(path)
        if "" in archive.namelist():
            raise zipfile.BadZipFile("a file in it has no name")
        for member in archive.infolist():
            member.filename = member.filename.replace("\\", "/")  # some writers part paths by backslashes
        return archive
    except (*_DAMAGED, OSError) as error:
        raise UserError(f"{path} is not a whole zip file ({error}): download it again") from None


def _check_size(path: Path, members: list[zipfile.ZipInfo], target: Path) -> None:
    """Refuse by the sizes that the zip declares; zipfile reads no more than these."""
    unpacked = sum(member.file_size for member in members)
    if unpacked > _BOMB_BYTES and unpacked > _BOMB_RATIO * path.stat().st_size:
        raise UserError(f"{path} would unpack to {bytes_text(unpacked)}, it looks like a zip bomb: it is not unpacked")
    free = shutil.disk_usage(target).free - _SPARED
    if unpacked > free:
        raise UserError(
            f"{path} unpacks to {bytes_text(unpacked)}, {bytes_text(max(free, 0))} are free below {target.parent}:"
            " make room, or use a --root on a larger disk"
        )


def _extract(path: Path, archive: zipfile.ZipFile, member: zipfile.ZipInfo, base: Path) -> None:
    name = member.filename
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]:
        raise UserError(f"{path} holds the path {name!r}, which leads out of its folder: it is not unpacked")
    if stat.S_ISLNK(member.external_attr >> 16):
        raise UserError(f"{path} holds {name!r}, a link: it is not unpacked; ask the host for the file itself")
    if member.flag_bits & 1:
        raise UserError(f"{path} has a password: unpack it by hand into {path.parent}")
    file = base / pure
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(member) as source, file.open("xb") as target:
            shutil.copyfileobj(source, target, _CHUNK)  # no more than the size that the member declares
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{path}: {name!r} stands in the zips beside it twice: keep one of them") from None
    except (*_DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; bzip2 has one without a number
            raise
        raise UserError(f"{path}: {name!r} is damaged ({error}): download the zip again") from None


def _is_clutter(name: str) -> bool:
    """Say whether a file is an operating system's own."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts if part != "..")
