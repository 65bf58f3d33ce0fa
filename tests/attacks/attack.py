"""An attack on a command: what is done to it, and how it has to end."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

import tests.attacks
from tests.conftest import REPOSITORY, TINY, run_all, write_competition

RUN = "cross_entropy"  # the finished run of the root
FLAGS = ("--config", str(REPOSITORY / "configs" / "cross_entropy.yaml"), *TINY)


@dataclass(frozen=True)
class End:
    """How a command ended."""

    status: int
    said: str  # on stdout and stderr
    seconds: float
    left: int  # processes that outlived it


@dataclass(frozen=True)
class Attack:
    """One attack on a root with a finished run, and what is right then."""

    name: str
    do: Callable[[Path], End]  # gets a root of its own
    status: int
    says: str = ""  # pattern of a line
    seconds: float = 120.0  # more is a hang
    needs: Callable[[], bool] = lambda: True  # what the machine must permit

    def wrong(self, end: End) -> str:
        """Return what is wrong about an end; empty for nothing."""
        if end.seconds > self.seconds:
            return f"took {end.seconds:.0f} s"
        if "Traceback" in end.said:
            return "traceback"
        if end.left:
            return f"{end.left} processes left"
        if end.status != self.status:
            return f"status {end.status}"
        return "" if re.search(self.says, end.said) else "not said"


def all_attacks() -> list[Attack]:
    """Return the attacks of every module of this folder that has a list of them."""
    modules = [module.name for module in iter_modules(tests.attacks.__path__) if module.name.strip("_") != "main"]
    lists = [getattr(import_module(f"tests.attacks.{name}"), "ATTACKS", []) for name in modules]
    return [attack for attacks in lists for attack in attacks]


def finished_root(root: Path) -> None:
    """Fill a root with a small competition and a finished run of it."""
    write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    run_all(root)


def started(
    root: Path, command: str, *flags: str, within: str = "", stdout: int | None = None
) -> "subprocess.Popen[str]":
    """Start a command of run.sh on the root; `within` is a line of bash that comes before it in the same shell."""
    words = [str(REPOSITORY / "run.sh"), command, "--root", str(root), *flags]
    if within:
        words = ["bash", "-c", f'{within} && exec "$@"', "attack", *words]
    return subprocess.Popen(
        words,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE if stdout is None else stdout,
        stderr=subprocess.STDOUT if stdout is None else subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "SUPCON_PYTHON": sys.executable, "OMP_NUM_THREADS": "1"},
    )


def ended(process: "subprocess.Popen[str]", root: Path, limit_s: float = 180) -> End:
    """Wait for a command and say how it ended; one that takes longer than `limit_s` is killed."""
    start = time.monotonic()
    try:
        said = "".join(part for part in process.communicate(timeout=limit_s) if part)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        said = "".join(part for part in process.communicate() if part)
    seconds = time.monotonic() - start
    until = time.monotonic() + 5
    while (left := running(root)) and time.monotonic() < until:
        time.sleep(0.1)
    for number in left:
        os.kill(number, signal.SIGKILL)
    return End(process.returncode, said, seconds, len(left))


def run(root: Path, command: str, *flags: str, within: str = "") -> End:
    """Run a command of run.sh on the root to its end."""
    return ended(started(root, command, *flags, within=within), root)


def running(root: Path) -> list[int]:
    """Return the processes whose command line names the root."""
    lines = {path.parent.name: _content(path) for path in Path("/proc").glob("[0-9]*/cmdline")}
    return [int(number) for number, line in lines.items() if str(root) in line and int(number) != os.getpid()]


def permitted(line: str) -> Callable[[], bool]:
    """Return whether a line of bash works on this machine."""

    def works() -> bool:
        return subprocess.run(["bash", "-c", line], capture_output=True, check=False).returncode == 0

    return works


def flags_of(*flags: str) -> tuple[str, ...]:
    """Return the flags of a run of its own on fold 0, small and without contrast."""
    weights = ("--finetune.contrastive_weight=0", "--finetune.contrastive_weight_end=0")
    return (*FLAGS, "--run=attacked", "--fold=0", "--pretrain.epochs=0", *weights, *flags)


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
