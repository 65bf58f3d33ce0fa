"""What is not read here: archives in pieces, archives and tables of other formats; and what to do with them."""

import os
import re
from pathlib import Path
from shlex import quote

_PIECE = re.compile(r"(.+\.(?:zip|tar|tar\.\w+|t\wz))[.-]?(0*1|a+)", re.IGNORECASE)  # the first of several
_COMMANDS = {  # by a pattern of the name
    r".+\.7z(\.0*1)?": "7z x {path} -o{folder}",
    r".+\.part0*1\.rar|(?!.+\.part\d+\.).+\.rar": "unrar x {path} {folder}/",
    r".+\.(tar\.(zst|lz|lz4|lzma|br|z)|tzst|tlz)": "tar -xf {path} -C {folder}",
    r".+\.gz(?<!\.tar\.gz)": "gunzip -k {path}",
    r".+\.bz2(?<!\.tar\.bz2)": "bunzip2 -k {path}",
    r".+\.xz(?<!\.tar\.xz)": "unxz -k {path}",
}


def packed_otherwise(folder: Path) -> str:
    """Return which file of `folder` hides others, and the command that helps; "" where there is none."""
    for path in sorted(path for path in folder.glob("*") if not path.name.startswith(".")):
        if piece := _PIECE.fullmatch(path.name):
            whole, before = path.with_name(piece[1]), path.with_name(path.name[: -len(piece[2])])
            if not whole.exists():
                pieces = quote(str(before)) + "?" * len(piece[2])
                return f"{path} is a piece of an archive: join all with `cat {pieces} > {quote(str(whole))}`"
        if re.fullmatch(r".+\.z0*1", path.name, re.IGNORECASE) and (advice := join_zip(path.with_suffix(".zip"))):
            return advice
        for pattern, command in _COMMANDS.items():
            if re.fullmatch(pattern, path.name, re.IGNORECASE):
                shown = command.format(path=quote(str(path)), folder=quote(str(folder)))
                return f"{path} is not unpacked here: unpack it with `{shown}`"
        if re.fullmatch(r".+\.(xlsx?|ods|parquet|feather|json|jsonl)", path.name, re.IGNORECASE):
            return f"{path} is no CSV file: save it as {path.stem}.csv"
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
