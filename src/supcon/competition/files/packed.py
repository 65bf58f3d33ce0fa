"""What is not read here: archives in pieces, archives and tables of other formats; and what to do with them."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from shlex import quote

from supcon.images.formats import unread

_PIECE = re.compile(r"(.+\.(?:zip|tar|tar\.\w+|t\wz))[.-]?(?:part)?(0*1|a+)", re.IGNORECASE)  # the first of several
_COMMANDS = {  # by a pattern of the name
    r".+\.7z(\.0*1)?": "7z x {path} -o{folder}",
    r".+\.part0*1\.rar|(?!.+\.part\d+\.).+\.rar": "unrar x {path} {folder}/",
    r".+\.(tar\.(zst|lz|lz4|lzma|br|z)|tzst|tlz)": "tar -xf {path} -C {folder}",
    r".+\.gz(?<!\.tar\.gz)": "gunzip -k {path}",
    r".+\.bz2(?<!\.tar\.bz2)": "bunzip2 -k {path}",
    r".+\.xz(?<!\.tar\.xz)": "unxz -k {path}",
}
_TABLE = re.compile(
    r"(train|training|train_?labels|labels)\.((csv|tsv)\.(gz|bz2|xz)|xlsx?|ods|parquet|feather|jsonl?)", re.IGNORECASE
)


def packed_table(folder: Path) -> str:
    """Return which file below `folder` holds the training table in another form, and the cure; "" where none does."""
    tables = (path for path in _files(folder) if _TABLE.fullmatch(path.name))
    return next((advice for path in tables if (advice := _hides_files(path) or _hides_table(path))), "")


def packed_otherwise(folder: Path, *, tables: bool = False) -> str:
    """Return which file below `folder` hides others, or a table, and what helps; "" where there is none."""
    advice = (_hides_files(path) or (_hides_table(path) if tables else "") for path in _files(folder))
    return next(filter(None, advice), "")


def unread_images(folders: Sequence[Path], counts: Callable[[str], bool]) -> str:
    """Return that images are there in a form that is not read, and the cure; "" where none are.

    Of the files below `folders` those are looked at whose relative path `counts`.
    """
    for folder in folders:
        files = [path for path in _files(folder) if counts(path.relative_to(folder).as_posix())]
        if advice := next(filter(None, map(_hides_files, files)), ""):
            return advice
        if others := unread(path.name for path in files):
            return f"the images below {folder} are {others}: write them as PNG or TIFF files, named by their ids"
    return ""


def _files(folder: Path) -> Iterator[Path]:
    """Yield the files below a folder, but hidden ones, those of the folder itself first."""
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (Path(where) / name for name in sorted(names) if not name.startswith("."))


def _hides_table(path: Path) -> str:
    if re.fullmatch(r".+\.(xlsx?|ods|parquet|feather|json|jsonl)", path.name, re.IGNORECASE):
        return f"{path} is no CSV file: save it as {path.stem}.csv"
    return ""


def _hides_files(path: Path) -> str:
    """Return that a file hides others, and the command that helps; "" for any other file."""
    if piece := _PIECE.fullmatch(path.name):
        whole, before = path.with_name(piece[1]), path.with_name(path.name[: -len(piece[2])])
        if not whole.exists():
            pieces = quote(str(before)) + "?" * len(piece[2])
            return f"{path} is a piece of an archive: join all with `cat {pieces} > {quote(str(whole))}`"
    if re.fullmatch(r".+\.z0*1", path.name, re.IGNORECASE) and (advice := join_zip(path.with_suffix(".zip"))):
        return advice
    for pattern, command in _COMMANDS.items():
        if re.fullmatch(pattern, path.name, re.IGNORECASE):
            shown = command.format(path=quote(str(path)), folder=quote(str(path.parent)))
            return f"{path} is not unpacked here: unpack it with `{shown}`"
    if path.suffix in (".crdownload", ".part", ".partial"):
        return f"{path} is a download that was not finished: download it again"
    if path.suffix == ".dvc":
        return f"{path} stands for files that DVC holds elsewhere: fetch them with `dvc pull`"
    return ""


def join_zip(path: Path) -> str:
    """Return how to join a zip whose earlier pieces, .z01 and so on, lie beside it; "" where none does."""
    first = path.with_suffix(".z01")
    if not os.path.lexists(first):
        return ""
    joined = quote(str(path.with_name(f"{path.stem}-joined.zip")))
    return (
        f"{first} is a piece of an archive: join all with `zip -s 0 {quote(str(path))} --out {joined}`, then remove"
        f" {path.stem}.z* and {path.name}"
    )
