"""The interpreter of a stage: the one that SUPCON_PYTHON names, else the one of .venv; and the packages that it has.

What `./run.sh setup` made has the pins of requirements.txt. Another interpreter may have the versions that
requirements-host.txt allows.
"""

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import NoReturn

from supcon.errors import UserError, begin_command, tell

Ranges = Mapping[str, tuple[str, str]]  # package -> lowest version, first version that is too new

_REPOSITORY = Path(__file__).resolve().parents[2]
_ENVIRONMENT = _REPOSITORY / ".venv"
HOST_RANGES = _REPOSITORY / "requirements-host.txt"
_CHECKED = "SUPCON_CHECKED"  # set for the processes that a checked one starts
_HANDED_OVER = "SUPCON_HANDED_OVER"  # holds the number of the process that was
_OPENCV = "opencv-python-headless"
_OTHER_NAMES = {_OPENCV: (_OPENCV, "opencv-python", "opencv-contrib-python", "opencv-contrib-python-headless")}


def hand_over(name: str) -> None:
    """Replace this process by the same stage in the interpreter that is meant, where `name` is "__main__".

    That is SUPCON_PYTHON's; without it .venv's where the packages are missing here. Exits with status 2 where there is
    none. A page that is imported is left alone. From here on a signal is heard: the packages take seconds to load.
    """
    if name != "__main__":
        return
    begin_command()
    python = _meant()
    if python and os.environ.get(_HANDED_OVER) != str(os.getpid()):  # what a shim starts has another name
        os.environ[_HANDED_OVER] = str(os.getpid())
        sys.stdout.flush()
        os.execv(python, [python, *sys.argv])
    check_packages()


def check_packages() -> None:
    """Print a line for each package outside its range. Exits with status 2 where some are missing."""
    if Path(sys.prefix) == _ENVIRONMENT or _CHECKED in os.environ:
        return
    ranges = read_ranges(HOST_RANGES)
    if missing := [name for name in ranges if not version_of(name)]:
        _end(
            f"{sys.executable} lacks {', '.join(missing)}: {shlex.quote(sys.executable)} -m pip install -r"
            " requirements-host.txt; or use .venv, which ./run.sh setup makes, without SUPCON_PYTHON"
        )
    for line in outside(ranges):
        print(f"warning: {line}: it may fail, or differ from what is tested", file=sys.stderr, flush=True)
    os.environ[_CHECKED] = "1"


def read_ranges(path: Path) -> dict[str, tuple[str, str]]:
    """Return the ranges that a requirements file states, of lines such as `torch>=2.6,<3`."""
    lines = re.findall(r"^([\w-]+)(?:\[\w+\])?>=([\d.]+),<([\d.]+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {name: (first, beyond) for name, first, beyond in lines}


def outside(ranges: Ranges) -> list[str]:
    """Return a line for each installed package whose version is outside its range."""
    versions = {name: version_of(name) for name in ranges}
    return [
        f"{name} {versions[name]} is outside >={first},<{beyond}"
        for name, (first, beyond) in ranges.items()
        if versions[name] and not _numbers(first) <= _numbers(versions[name]) < _numbers(beyond)
    ]


def version_of(name: str) -> str:
    """Return the version of an installed package, under another name of the same one too; "" for none."""
    for other in _OTHER_NAMES.get(name, (name,)):
        try:
            return metadata.version(other)
        except metadata.PackageNotFoundError:
            continue
    return ""


def _meant() -> str:
    """Return the interpreter to go on in; "" for this one."""
    if named := os.environ.get("SUPCON_PYTHON"):
        python = shutil.which(named)
        if python is None or not _is_interpreter(python):
            _end(f"SUPCON_PYTHON names {named!r}, which is no interpreter")
        return "" if os.path.abspath(python) == os.path.abspath(sys.executable) else python
    if importlib.util.find_spec("jsonargparse") is not None:
        return ""
    python = str(_ENVIRONMENT / "bin" / "python")
    if not os.path.exists(python) or Path(sys.prefix) == _ENVIRONMENT:
        _end("the packages of requirements.txt are not installed: run ./run.sh setup")
    return python


def _is_interpreter(program: str) -> bool:
    try:
        done = subprocess.run([program, "-c", "print(1)"], capture_output=True, text=True, check=False)
    except OSError:
        return False
    return done.stdout.strip() == "1"


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3]]


def _end(message: str) -> NoReturn:
    tell(UserError(message))
    sys.exit(2)


if __name__ == "__main__":
    check_packages()
