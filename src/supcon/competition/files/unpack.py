"""The host's archives, unpacked into cache/ where nothing can leave, overwrite or flood."""

import os
import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from tqdm import tqdm

from supcon.competition.files.archives import DAMAGED, Archive, Member, archive_kind, stem_of
from supcon.competition.files.index import is_image
from supcon.errors import UserError
from supcon.storage import lock
from supcon.storage.files import digest, whole_folder
from supcon.storage.sizes import bytes_text

UNPACKED = "unpacked-"  # begins the name of the folder in cache/
_BOMB_RATIO, _BOMB_BYTES = 100, 2**30  # more than 100 to 1 and more than 1 GiB: no host's images shrink like that
_DEPTH = 2  # archives within archives
_SPARED = 2**28  # bytes of the disk that stay free
_CHUNK = 2**20
_LOOKED_AT = 100  # files of a tar, all of whose content must be read to list it


def unpack_archives(folder: Path, cache: Path, others: Collection[Path] = ()) -> Path | None:
    """Unpack the zips and tars that lie in `folder`, or in `others` below it, and return where; None without any.

    Done once for archives of a name, size and modification time. One whose files already lie in `folder`, or in a
    folder of its name, is passed over. Archives within are unpacked too. Raises `UserError`, with nothing left behind,
    for one that is damaged, has a password, would fill the disk, is a bomb together with the others, or holds links,
    devices or paths that lead out.
    """
    places = [path for path in sorted({folder, *others}) if path.is_dir()]
    names = [place / name for place in places for name in sorted(os.listdir(place)) if archive_kind(name)]
    archives = [path for path in names if path.is_file()]
    facts = [(path.relative_to(folder).as_posix(), path.stat().st_size, path.stat().st_mtime_ns) for path in archives]
    unpacked = cache / f"{UNPACKED}{digest(facts)[:16]}"
    if not unpacked.exists():
        archives = [path for path in archives if not _is_unpacked(path)]
        if not archives:
            return None
        with lock.alone(cache / ".unpack.lock", f"unpacking {archives[0]}"):
            if not unpacked.exists():
                _unpack_all(archives, folder, unpacked)
    return unpacked


@dataclass
class _Room:
    """What all archives together may take."""

    target: Path
    packed: int  # bytes of the archives, without those within
    unpacked: int = 0

    def take(self, path: Path, size: int) -> None:
        """Count a member of `path`, by the size that it declares. Raises `UserError` where it is too much."""
        self.unpacked += size
        if self.unpacked > _BOMB_BYTES and self.unpacked > _BOMB_RATIO * self.packed:
            raise UserError(
                f"{path} would unpack to {bytes_text(self.unpacked)} with what was unpacked before, from"
                f" {self.packed / 1e6:.3g} MB: it looks like a zip bomb and is not unpacked"
            )

    def require(self, path: Path, size: int) -> None:
        """Raise `UserError` where the disk has less room than `size` bytes."""
        free = shutil.disk_usage(self.target).free - _SPARED
        if size > free:
            raise UserError(
                f"{path} unpacks to {bytes_text(size)}, {bytes_text(max(free, 0))} are free below"
                f" {self.target.parent}: make room, or use a --root on a larger disk"
            )


def _unpack_all(archives: Sequence[Path], folder: Path, unpacked: Path) -> None:
    try:
        with whole_folder(unpacked) as partial:
            room = _Room(partial, sum(path.stat().st_size for path in archives))
            for path in archives:
                _unpack(path, partial / path.parent.relative_to(folder), room, _DEPTH)
    except OSError as error:
        raise UserError(f"{unpacked} could not be written: {error.strerror or error}") from error


def _is_unpacked(path: Path) -> bool:
    """Say whether the files of an archive, the first ones of a tar, lie beside it or in a folder of its name."""
    with Archive(path) as archive:
        members = archive.members()
        names = [member.name for member in (members if archive.kind == "zip" else islice(members, _LOOKED_AT))]
    return any(
        all(os.path.isfile(base / name) for name in names) for base in (path.parent, path.with_name(stem_of(path.name)))
    )


def _unpack(path: Path, target: Path, room: _Room, depth: int) -> None:
    with Archive(path) as archive:
        members = []
        for member in archive.members():
            if not _is_clutter(member.name):
                room.take(path, member.size)
                members.append(member)
        room.require(path, sum(member.size for member in members))
        loose = any("/" not in member.name and is_image(member.name) for member in members)
        base = target / stem_of(path.name) if loose else target  # images without a folder get one of the archive's name
        for member in tqdm(members, f"unpack {path.name}", unit="file", disable=None, leave=False):
            _extract(path, archive, member, base)
    for member in members:
        if archive_kind(member.name):
            if depth == 0:
                raise UserError(f"{path} holds zips within zips within zips: unpack it by hand into {path.parent}")
            inner = base / member.name
            _unpack(inner, inner.parent, room, depth - 1)
            inner.unlink()


def _extract(path: Path, archive: Archive, member: Member, base: Path) -> None:
    name = member.name
    pure = PurePosixPath(name)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or ":" in pure.parts[0]:
        raise UserError(f"{path} holds the path {name!r}, which leads out of its folder: it is not unpacked")
    if member.flaw == "encrypted":
        raise UserError(f"{path} has a password: unpack it by hand into {path.parent}")
    if member.flaw:
        raise UserError(f"{path} holds {name!r}, {member.flaw}: it is not unpacked; ask the host for the file itself")
    file = base / pure
    file.parent.mkdir(parents=True, exist_ok=True)
    try:
        with archive.open(member) as source, file.open("xb") as target:
            shutil.copyfileobj(source, target, _CHUNK)  # no more than the size that the member declares
            if target.tell() < member.size:
                raise EOFError("it ends too soon")
    except (FileExistsError, IsADirectoryError, NotADirectoryError):
        raise UserError(f"{path}: {name!r} stands in the {archive.kind}s beside it twice: keep one of them") from None
    except (*DAMAGED, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:  # the disk's; bzip2 has one without a number
            raise
        raise UserError(f"{path}: {name!r} is damaged ({error}): download the {archive.kind} again") from None


def _is_clutter(name: str) -> bool:
    """Say whether a file is an operating system's own."""
    parts = PurePosixPath(name).parts
    return "__MACOSX" in parts or any(part.startswith(".") for part in parts if part != "..")
