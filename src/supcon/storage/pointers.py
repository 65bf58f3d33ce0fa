"""What may lie in the place of a file: nothing, a link without a target, a pipe, a pointer of Git LFS or git-annex."""

import errno
import os
import re
import stat

_LFS = re.compile(rb"version https?://(git-lfs\.github|hawser\.github|git-media)\S*")
_ANNEX = re.compile(rb"(\.\./)*(/|\.git/)annex/objects/")
_FETCH_ANNEX = "git-annex: fetch them with `git annex get`"
_OWNERS = {"annex/objects": _FETCH_ANNEX, "dvc/": "DVC: fetch them with `dvc pull`"}  # by a part of the link's target
GONE = errno.ENOENT, errno.ENOTDIR, errno.ELOOP  # of a name, or link, that leads to no file

HEAD = 64  # bytes of a file that tell whether it is a pointer


def regular(path: str, flags: int) -> int:
    """Open a file, as the `opener` of `open`. Raises `OSError`, without waiting, for what is no regular file."""
    file = os.open(path, flags | os.O_NONBLOCK)  # a named pipe without a writer would be waited for
    mode = os.fstat(file).st_mode
    if stat.S_ISREG(mode):
        return file
    os.close(file)
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, "it is a folder")
    raise OSError(errno.EINVAL, "not a regular file")


def absence(path: str) -> str:
    """Return why there is no regular file at `path`; "" where there is one, or nobody can tell."""
    try:
        return "" if stat.S_ISREG(os.stat(path).st_mode) else "not a regular file"
    except OSError as error:
        if error.errno not in GONE:
            return ""
    if not os.path.islink(path):
        return "no such file"
    target = os.readlink(path)
    owner = next((f"; {advice}" for mark, advice in _OWNERS.items() if mark in target), "")
    return f"link without a target{owner}"


def pointer(head: bytes) -> str:
    """Return what a file's first `HEAD` bytes say of where its content is; "" for a file that holds its content."""
    if _LFS.match(head):
        return "Git LFS pointers: fetch them with `git lfs pull`"
    return _FETCH_ANNEX if _ANNEX.match(head) else ""
