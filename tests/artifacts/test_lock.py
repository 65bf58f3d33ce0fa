"""One process at a time in a place."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from supcon.artifacts import lock
from supcon.errors import UserError
from tests.conftest import REPOSITORY

HOLD = (
    "import sys, time; from pathlib import Path; from supcon.artifacts import lock; lock.take(Path(sys.argv[1]), 'it')"
)


def holder(path: Path) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", HOLD + "; print('held', flush=True); time.sleep(60)", str(path)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(REPOSITORY / "src")})
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_is_there_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    first = holder(tmp_path / "x.lock")
    try:
        with pytest.raises(UserError, match=f"it is being worked on by process {first.pid}: wait for it"):
            lock.take(tmp_path / "x.lock", "it")
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    lock.take(tmp_path / "x.lock", "it")
    lock.take(tmp_path / "x.lock", "it")  # its own, again
    lock.release(tmp_path / "x.lock")
    second = holder(tmp_path / "x.lock")
    second.kill()
    second.wait()
