"""One process at a time in a place."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from supcon.storage import lock
from supcon.storage.processes import MACHINE
from tests.conftest import REPOSITORY

TAKE = "import sys, time; from pathlib import Path; from supcon.storage import lock; lock.take(Path(sys.argv[1]), 'it')"


def holder(path: Path, then: str = "time.sleep(60)") -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", f"{TAKE}; print('held', flush=True); {then}", str(path)]
    environment = {"PYTHONPATH": str(REPOSITORY / "src")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_is_there_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    first = holder(path)
    try:
        assert lock.try_take(path) == f"{MACHINE}, process {first.pid}"
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert lock.try_take(path) == ""
    assert lock.try_take(path) == ""  # its own, again
    lock.release(path)
    second = holder(path)
    second.kill()
    second.wait()


def test_who_waits_says_so_once_and_goes_on_when_the_other_ends(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lock, "POLL", 0.05)
    path = tmp_path / "x.lock"
    first = holder(path, "time.sleep(1)")
    with lock.alone(path, "it"):
        assert first.wait() == 0
    assert capsys.readouterr().out == f"it is being worked on by {MACHINE}, process {first.pid}: waiting for it\n"


def test_what_is_taken_within_is_given_back_and_nothing_else(tmp_path: Path) -> None:
    own, within = tmp_path / "own.lock", tmp_path / "within.lock"
    with lock.alone(own, "it"):
        with lock.given_back():
            assert lock.try_take(own) == lock.try_take(within) == ""
        other = holder(within)  # it is free
        other.kill()
        other.wait()
        told = subprocess.run(
            [sys.executable, "-c", TAKE.replace("lock.take", "print(lock.try_take").replace(", 'it')", "))"), str(own)],
            capture_output=True, text=True, env={"PYTHONPATH": str(REPOSITORY / "src")}, check=True,
        )  # fmt: skip
        assert told.stdout == f"{MACHINE}, process {os.getpid()}\n"


def test_a_released_lock_is_free_while_a_worker_process_of_its_holder_lives(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert lock.try_take(path) == ""
    worker = os.fork()
    if worker == 0:
        time.sleep(20)
        os._exit(0)
    try:
        lock.release(path)
        holder(path).kill()
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_where_a_folder_has_no_locks_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with lock.alone(tmp_path / "x.lock", "it"):
        assert (tmp_path / "x.lock").exists()
