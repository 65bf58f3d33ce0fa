"""Signals: to run.sh alone, to all at once, while packages load; and a worker process that is killed."""

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from tests.attacks.attack import FLAGS, Attack, End, ended, flags_of, running, started

TRAINING = flags_of("--finetune.epochs=5000", "--machine.workers=2")
WORDS = {signal.SIGINT: "interrupted: ", signal.SIGTERM: "ended by SIGTERM: ", signal.SIGHUP: "ended by SIGHUP: "}


def sent(number: signal.Signals, command: str, flags: tuple[str, ...], *, group: bool = False) -> Callable[[Path], End]:
    """Send a signal to run.sh, or to it and all it started, once an epoch has ended."""

    def do(root: Path) -> End:
        process = started(root, command, *flags)
        wait_for_line(process, "  epoch 1/")
        (os.killpg if group else os.kill)(process.pid, number)
        return ended(process, root)

    return do


def while_it_loads(seconds: float) -> Callable[[Path], End]:
    """Press Ctrl-C soon after the start, while packages are being imported."""

    def do(root: Path) -> End:
        process = started(root, "predict", *FLAGS, "--force", "--fold=0")
        while len(running(root)) == 0 or b"predict.py" not in _line(process.pid):
            time.sleep(0.01)
        time.sleep(seconds)
        os.killpg(process.pid, signal.SIGINT)
        return ended(process, root)

    return do


def worker_killed(seconds: float) -> Callable[[Path], End]:
    """Kill a loader process so long after an epoch, as the system does for want of memory."""

    def do(root: Path) -> End:
        process = started(root, "finetune", *TRAINING)
        wait_for_line(process, "  epoch 1/")
        time.sleep(seconds)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[-1]), signal.SIGKILL)
        return ended(process, root, 60)

    return do


def wait_for_line(process: "subprocess.Popen[str]", part: str) -> None:
    """Read what a command says until a line holds `part`."""
    for line in process.stdout or ():
        if part in line:
            return


def _line(number: int) -> bytes:
    return Path(f"/proc/{number}/cmdline").read_bytes()


ALL = ("--run=attacked", *(flag for flag in TRAINING if not flag.startswith(("--run", "--fold"))))
ATTACKS = [
    *(
        Attack(
            f"{number.name} to {'the group of' if group else 'run.sh'} {command}",
            sent(number, command, flags, group=group),
            128 + number,
            f"^{words}|\n{words}",
            20,
        )
        for number, words in WORDS.items()
        for command, flags in (("finetune", TRAINING), ("all", ALL))
        for group in (False, True)
    ),
    *(
        Attack(f"Ctrl-C {seconds} s after Python began", while_it_loads(seconds), 130, "interrupted: ", 20)
        for seconds in (0.3, 0.6, 1.0, 1.5, 2.5)
    ),
    *(
        Attack(
            f"a loader process is killed {seconds} s after an epoch",
            worker_killed(seconds),
            2,
            "error: a loader process was killed, most likely",
            60,
        )
        for seconds in (0, 0.05, 0.1, 0.15)
    ),
]
