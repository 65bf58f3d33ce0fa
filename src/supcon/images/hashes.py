"""Content hashes of the host's images, remembered in cache/hashes.csv by size and modification time."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd

from supcon.artifacts.files import digest, read_csv, sha256_file, write_csv
from supcon.errors import UserError


def content_hashes(cache: Path, folder: Path, paths: Sequence[str]) -> list[str]:
    """Return the SHA-256 of each image of `folder`, reading only files that are new or changed.

    Raises `UserError` for a file that is gone or unreadable.
    """
    index = cache / "hashes.csv"
    known: dict[tuple[str, str, str], str] = {}
    if index.exists():
        table = read_csv(index)
        known = {
            (path, size, modified): sha256 for path, size, modified, sha256 in table.itertuples(index=False, name=None)
        }
    keys = [_key(folder, path) for path in paths]
    missing = [key for key in keys if key not in known]
    if missing:
        with ThreadPoolExecutor() as pool:  # hashing releases the interpreter lock
            known |= dict(zip(missing, pool.map(lambda key: sha256_file(Path(key[0])), missing), strict=True))
        rows = [(*key, known[key]) for key in dict.fromkeys(keys)]
        write_csv(index, pd.DataFrame(rows, columns=["path", "size", "modified_ns", "sha256"]))
    return [known[key] for key in keys]


def images_digest(paths: Sequence[str], hashes: Sequence[str]) -> str:
    """Return one hash for all images: their relative paths and contents."""
    return digest(sorted(zip(paths, hashes, strict=True)))


def _key(folder: Path, path: str) -> tuple[str, str, str]:
    try:
        status = (folder / path).stat()
    except OSError as error:
        raise UserError(f"{folder / path} cannot be read: {error.strerror}") from None
    return str(folder / path), str(status.st_size), str(status.st_mtime_ns)
