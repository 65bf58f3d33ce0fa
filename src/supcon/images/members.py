"""Images in files of their own and images in containers, by one call: an image in a container is a path below its file.

    input/train/img4.png                a file
    input/train-image.hdf5/ISIC_0015670 a key
    input/train.npy/[17]                the row numbered 17, the first being 0; of an array x: train.npz/x/[17]
    input/train.parquet/image/[17]      a cell of the column image

An image stays where it is: it is read, in the process that needs it, when it is needed. Files are opened at the first
use. They are closed before this process forks, since HDF5 and Arrow must not be shared with the child, which opens its
own.
"""

import errno
import io
import os
import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from supcon.errors import UserError, limit
from supcon.images.container import Container, Contents
from supcon.images.geometry import Unreadable
from supcon.images.hdf5 import Hdf5
from supcon.images.npy import Npy, Npz
from supcon.images.parquet import Parquet
from supcon.storage.pointers import HEAD, pointer, regular

_KINDS: dict[str, tuple[Callable[[str], Container], bytes, str]] = {  # by suffix: the class, its first bytes, its name
    ".npy": (Npy, b"\x93NUMPY", "NumPy"),
    ".npz": (Npz, b"PK", "NumPy"),
    ".h5": (Hdf5, b"\x89HDF\r\n\x1a\n", "HDF5"),
    ".hdf5": (Hdf5, b"\x89HDF\r\n\x1a\n", "HDF5"),
    ".parquet": (Parquet, b"PAR1", "Parquet"),
}
_WITHIN = re.compile(rf"(?:{'|'.join(map(re.escape, _KINDS))})/", re.IGNORECASE)
_MOST_OPEN = 8  # files at a time, of a host that ships them in many

_opened: OrderedDict[tuple[str, int, int], Container] = OrderedDict()
_using = threading.RLock()  # of a thread that forks while it reads, too


def is_container(name: str) -> bool:
    """Say whether a file may hold images, by its suffix."""
    return os.path.splitext(name)[1].lower() in _KINDS


def status_of(path: str) -> os.stat_result:
    """Return the status of an image's file; of an image in a container that one's. `OSError` for none."""
    try:
        return os.stat(path)
    except OSError as error:
        return os.stat(_container_of(path, error))


def contents_of(path: str) -> Contents:
    """Return which images a container holds. Raises `UserError` where it is damaged, or what reads it is missing."""
    with use_container(path) as container, named_damage(path):
        return container.contents()


def open_image(path: str) -> io.FileIO | io.BytesIO:
    """Open an image file, or an image in a container, for reading.

    Raises `OSError` as `open` does, `Unreadable` for a member that is damaged or no image, `UserError` for a container
    that cannot be read.
    """
    try:
        return open(path, "rb", buffering=0, opener=regular)
    except OSError as error:
        container = _container_of(path, error)
    return io.BytesIO(_read(container, path[len(container) + 1 :]))


def _container_of(path: str, error: OSError) -> str:
    """Return the container of the image at `path`. Raises the `error` that its path gave where there is none."""
    if error.errno in (errno.ENOTDIR, errno.ENAMETOOLONG):
        for found in _WITHIN.finditer(path):
            if os.path.isfile(container := path[: found.end() - 1]):
                return container
    raise error


def _read(path: str, member: str) -> bytes:
    with use_container(path) as container:
        try:
            return container.read(member)
        except (Unreadable, UserError):
            raise
        except KeyError:
            raise FileNotFoundError(errno.ENOENT, "it has no such image") from None
        except Exception as error:  # as in `named_damage`
            if line := limit(error):
                raise line from None
            raise Unreadable(f"damaged: {_said(error)}") from None


@contextmanager
def use_container(path: str) -> Iterator[Container]:
    """Yield the open container at `path`. Raises `UserError` where it cannot be opened."""
    with _using:
        try:
            status = os.stat(path)
        except OSError as error:
            raise UserError(f"{path} cannot be read: {error.strerror}") from None
        key = path, status.st_mtime_ns, status.st_size
        if key not in _opened:
            while len(_opened) >= _MOST_OPEN:
                _opened.popitem(last=False)[1].close()
            _opened[key] = _open(path)
        _opened.move_to_end(key)
        yield _opened[key]


def _open(path: str) -> Container:
    make, mark, kind = _KINDS[os.path.splitext(path)[1].lower()]
    with named_damage(path):
        with open(path, "rb", opener=regular) as file:
            head = file.read(HEAD)
        if reason := pointer(head):
            raise UserError(f"{path} is no {kind} file ({reason})")
        if not head.startswith(mark):
            raise ValueError("its first bytes are of another kind" if head else "it is empty")
        return make(path)


@contextmanager
def named_damage(path: str) -> Iterator[None]:
    """Let what a library raises at a damaged container be `UserError`, with the cure."""
    try:
        yield
    except UserError:
        raise
    except Unreadable as error:
        raise UserError(f"{path} is not read here ({error}): write it anew, or its images as PNG files") from None
    except Exception as error:  # h5py, Arrow and zipfile raise errors of their own at damaged bytes
        kind = _KINDS[os.path.splitext(path)[1].lower()][2]
        raise limit(error) or UserError(
            f"{path} is not a whole {kind} file ({_said(error)}): copy the host's file again"
        ) from None


def _said(error: Exception) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return " ".join(text.split())[:200] or type(error).__name__


def _close_all() -> None:
    _using.acquire()
    while _opened:
        _opened.popitem()[1].close()


os.register_at_fork(before=_close_all, after_in_parent=_using.release, after_in_child=_using.release)
