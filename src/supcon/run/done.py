"""STAGE.done.json: what a stage's work was made from, with the size and hash of each of its files.

Whoever reads such a file compares it (`intact`), because damaged weights still predict, and damaged logits still score.
To skip finished work the sizes are enough. Earlier versions kept one hash of all files and no sizes.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import pandas as pd

from supcon.errors import UserError
from supcon.run.stages import STAGE, Stage
from supcon.settings import command_of
from supcon.storage.files import digest, read_checked_json, read_json, sha256_file, write_checked_json
from supcon.storage.tables import read_own_table

_SUFFIX = ".done.json"


def write_done(
    path: Path, fingerprint: Mapping[str, Any], files: Sequence[str], beside: Sequence[str], facts: Mapping[str, Any]
) -> None:
    """Write a done.json that describes `files`, the stage's results, and those `beside` them, such as a log.

    Raises `UserError` where a file cannot be read or done.json not be written.
    """
    there = [name for name in (*beside, *_tables(path)) if (path.parent / name).is_file()]
    described = {name: _describe(path.parent / name) for name in (*files, *there)}
    hashes = {name: described[name]["sha256"] for name in files}
    content = {"fingerprint": fingerprint, "hash": digest([fingerprint, hashes]), "files": described, **facts}
    write_checked_json(path, content)


def not_as_hashed(folder: Path, hashes: Mapping[str, str]) -> list[Path]:
    """Return the files of `folder`, by name with their SHA-256, that are missing or have changed."""
    paths = {folder / name: expected for name, expected in hashes.items()}
    return [path for path, expected in paths.items() if not path.is_file() or sha256_file(path) != expected]


def read_done(path: Path) -> dict[str, Any]:
    """Read a done.json. Raises `UserError` where it is absent or damaged."""
    cure = _made_anew(path)
    content = read_checked_json(path, cure)
    kinds = {"fingerprint": dict, "hash": str, "seconds": int | float}
    if not all(isinstance(content.get(name), kind) for name, kind in kinds.items()):
        raise UserError(f"{path} is damaged: {cure}")
    return content


def intact(path: Path) -> Path:
    """Return the path of a file that a stage wrote, if that is what it wrote; of any other file as it is.

    Raises `UserError` for a file that has been damaged or changed since.
    """
    if path.is_file():
        status = path.stat()
        _check(path, status.st_size, status.st_mtime_ns)
    return path


def read_result(path: Path) -> dict[str, Any]:
    """Read the JSON that a stage wrote. Raises `UserError` where it is missing, damaged or changed."""
    return read_json(intact(path), _made_anew(path))


def read_epochs(path: Path, columns: Collection[str] = ()) -> pd.DataFrame:
    """Return the log of a training stage's epochs, as numbers; cells that are none are NaN.

    Raises `UserError` where it is missing, damaged or changed, or lacks one of `columns`.
    """
    if not path.exists():
        raise UserError(f"{path} is missing: {_made_anew(path)}")
    table = read_own_table(intact(path), _made_anew(path))
    if missing := [name for name in ("epoch", *columns) if name not in table]:
        raise UserError(f"{path} has no column {missing[0]}: {_made_anew(path)}")
    numbers = table.apply(pd.to_numeric, errors="coerce")
    if numbers[["epoch", *columns]].isna().any(axis=None):
        raise UserError(f"{path} holds what are no numbers: {_made_anew(path)}")
    return numbers


def refuse_other_sizes(done_file: Path, content: Mapping[str, Any], files: Sequence[str]) -> None:
    """Raise `UserError` where one of a stage's `files` has another size than when it was written."""
    for name in files:
        path, then = done_file.parent / name, content.get("files", {}).get(name, {}).get("bytes")
        if path.is_dir():
            raise UserError(f"{path} is a folder in place of a file: {_made_anew(path)}")
        now = path.stat().st_size
        if now == 0 or then not in (None, now):  # no stage writes an empty file
            written = "" if then is None else f", {then:,} were written"
            raise UserError(f"{path} is damaged ({now:,} bytes{written}): {_made_anew(path)}")


def damages(done_file: Path) -> Iterator[str]:
    """Yield what is wrong with a done.json and the files that it describes, a line each, with what makes them anew."""
    try:
        content = read_done(done_file)
        names = content.get("files", _results(done_file))
    except UserError as error:
        yield str(error)
        return
    for name in names:
        try:
            if (path := done_file.parent / name).exists():  # what was deleted is made anew, or missed by none
                _compare(path, done_file, content)
        except UserError as error:
            yield str(error)


def made_by(path: Path) -> str:
    """Return the command, in backquotes, that makes what lies in a run's folder: a done.json, or a file of a stage."""
    done_file = path if path.name.endswith(_SUFFIX) else _done_file_of(path)
    stage = None if done_file is None else _stage_of(done_file)
    if done_file is None or stage is None:
        return "the command that wrote it"
    fold = done_file.parent.name if stage.per_fold else ""
    run = done_file.parent.parent if stage.per_fold else done_file.parent
    if run.parent.name != "runs":  # a copy from elsewhere
        return f"its stage {stage.name}"
    words = ["--run", run.name, *(["--fold", fold.removeprefix("fold")] if fold else []), "--force"]
    return f"`{command_of(stage.module, run.parent.parent, *words)}`"


def _made_anew(path: Path) -> str:
    log = "; or delete it: only reports need it" if path.suffix == ".csv" and _is_log(path) else ""
    return f"{made_by(path)} makes it anew{log}"


def _is_log(path: Path) -> bool:
    done_file = _done_file_of(path)
    return done_file is not None and path.name in _tables(done_file)


@cache
def _check(path: Path, size: int, modified_ns: int) -> None:
    """Compare a file once, as long as it has this size and time."""
    done_file = _done_file_of(path)
    if done_file is not None:
        _compare(path, done_file, read_done(done_file))


def _done_file_of(path: Path) -> Path | None:
    """Return the done.json beside a file of a stage; None where no stage has finished it."""
    for done_file in sorted(path.parent.glob(f"*{_SUFFIX}")):
        if path.name in (*_results(done_file), *_tables(done_file)):
            return done_file
    for done_file in sorted(path.parent.glob(f"*{_SUFFIX}")):
        with suppress(UserError):  # a damaged one is told by who needs it
            if path.name in read_checked_json(done_file).get("files", {}):
                return done_file
    return None


def _stage_of(done_file: Path) -> Stage | None:
    return STAGE.get(done_file.name.removesuffix(_SUFFIX))


def _results(done_file: Path) -> tuple[str, ...]:
    """Return the files of a done.json's stage; the model on all rows holds none out."""
    stage = _stage_of(done_file)
    names = stage.files if stage else ()
    return tuple(name for name in names if (done_file.parent.name, name) != ("full", "oof.npz"))


def _tables(done_file: Path) -> list[str]:
    stage = _stage_of(done_file)
    return [name for name in (stage.logs if stage else ()) if name.endswith(".csv")]


def _describe(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": sha256_file(path)}


def _compare(path: Path, done_file: Path, content: Mapping[str, Any]) -> None:
    """Raise `UserError` where a file is not what its done.json says."""
    if path.is_dir():
        raise UserError(f"{path} is a folder in place of a file: {_made_anew(path)}")
    if described := content.get("files"):
        same = path.name not in described or _describe(path) == described[path.name]
    else:
        results = _results(done_file)
        known = path.name in results and all((path.parent / name).is_file() for name in results)
        same = not known or content["hash"] == digest(
            [content["fingerprint"], {name: sha256_file(path.parent / name) for name in results}]
        )
    if same:
        return
    raise UserError(f"{path} has changed since it was written, or is damaged: {_made_anew(path)}")
