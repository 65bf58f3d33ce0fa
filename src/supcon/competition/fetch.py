"""The file that an encoder starts from; one of a dataset on the host is fetched when it is first needed."""

import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from tqdm import tqdm

from supcon.competition.client import find_client, run_client
from supcon.errors import UserError
from supcon.settings import Request
from supcon.settings.hosted import HostedFile, hosted_at
from supcon.storage import lock
from supcon.storage.files import write_atomic
from supcon.storage.processes import MACHINE

MOUNTED = Path("/kaggle/input")  # where the host's own notebooks find what is attached to them
_MARK = ".kaggle-partial"  # the client's note beside a file that it has begun


def require_weights(request: Request) -> Path:
    """Return the file that `model.weights` names, once it is there. Raises `UserError` where it cannot be had."""
    path = Path(request.settings.model.weights)
    if path.is_file():
        return path
    hosted = hosted_at(path, request.root)
    if hosted is None:
        raise UserError(f"--model.weights {path}: no such file")
    fetch(hosted, request.root)
    return path


def fetch(hosted: HostedFile, root: Path) -> Path:
    """Let a file of the host be in its place below `root`, whole, or not there; return the place.

    Where its dataset is mounted, it is a link to that; else the host's client downloads it, and goes on with a download
    that broke off. Raises `UserError` where it cannot be had.
    """
    path = hosted.below(root)
    with lock.alone(path.with_name(f".{path.name}.lock"), str(hosted)):
        if path.is_file():  # another process has just fetched it
            return path
        places = MOUNTED / "datasets" / hosted.owner / hosted.dataset, MOUNTED / hosted.dataset
        mounted = next((place / hosted.file for place in places if (place / hosted.file).is_file()), None)
        if mounted:
            print(f"{hosted}: taken from {mounted}", flush=True)
            _link(path, mounted)
        else:
            print(f"{hosted}: fetching it from the host, once, into {path.parent}", flush=True)
            try:
                _download(hosted, path)
            except UserError as error:
                raise UserError(f"{hosted}: {error}") from None
    return path


def _link(path: Path, target: Path) -> None:
    try:
        path.unlink(missing_ok=True)  # a link to what is no longer mounted
        path.symlink_to(target)
    except OSError as error:
        raise UserError(f"{path} could not be written: {error.strerror or error}") from None


def _download(hosted: HostedFile, path: Path) -> None:
    program, part = find_client(), path.with_name(f".{path.name}.{MACHINE}.part")
    try:
        part.mkdir(exist_ok=True)
    except OSError as error:
        raise UserError(f"{part} could not be made: {error.strerror or error}") from None
    words = "datasets", "download", f"{hosted.owner}/{hosted.dataset}", f"--file={hosted.file}"
    try:
        with tqdm(desc=path.name, unit="B", unit_scale=True, leave=False, disable=None) as bar:
            run_client(
                program, *words, f"--path={part}", "--quiet", subject=words[2],
                tick=lambda: bar.update(sum(file.stat().st_size for file in _fetched(part)) - bar.n),
            )  # fmt: skip
        files = _fetched(part)
        if len(files) != 1:
            raise UserError("the client did not leave the file: try again")
        _keep(files[0], path)
        shutil.rmtree(part, ignore_errors=True)
    finally:
        if not any(file.stat().st_size for file in _fetched(part)):
            shutil.rmtree(part, ignore_errors=True)


def _fetched(part: Path) -> list[Path]:
    return [file for file in part.glob("*") if not file.name.endswith(_MARK)]


def _keep(fetched: Path, path: Path) -> None:
    """Write what was fetched to `path`."""
    try:
        with _opened(fetched, path.name) as content:
            write_atomic(path, lambda file: shutil.copyfileobj(content, file))
    except UserError:
        raise
    except Exception:  # zipfile and zlib raise errors of their own
        fetched.unlink()
        raise UserError("what the host sent is damaged: try again") from None


@contextmanager
def _opened(fetched: Path, name: str) -> Iterator[IO[bytes]]:
    """Open a file, or within the zip that the host may put around it: PyTorch's own files are zips of other names."""
    if zipfile.is_zipfile(fetched):
        with zipfile.ZipFile(fetched) as archive:
            if [Path(member).name for member in archive.namelist()] == [name]:
                with archive.open(archive.namelist()[0]) as content:
                    yield content
                return
    with fetched.open("rb") as content:
        yield content
