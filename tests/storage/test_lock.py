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
from supcon.storage.processes import HOST
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
        assert lock.holder_of(path) == f"{HOST}, process {first.pid}"
        assert lock.try_take(path) == f"{HOST}, process {first.pid}"
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert lock.holder_of(path) == ""
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
    assert capsys.readouterr().out == f"it is being worked on by {HOST}, process {first.pid}: waiting for it\n"


def test_who_only_looks_keeps_nobody_out(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    look = f"{TAKE.replace('lock.take', '#')}\nlock.release(Path(sys.argv[1]))\nprint('held', flush=True)\n"
    look += "while True: lock.holder_of(Path(sys.argv[1]))"
    command = [sys.executable, "-c", look, str(path)]
    path.touch()
    looking = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={"PYTHONPATH": str(REPOSITORY / "src")})
    try:
        assert looking.stdout is not None
        assert looking.stdout.readline() == "held\n"
        for _ in range(2000):
            assert lock.try_take(path) == ""
            lock.release(path)
    finally:
        looking.kill()
        looking.wait()


def test_a_released_lock_is_free_while_a_worker_process_of_its_holder_lives(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert lock.try_take(path) == ""
    worker = os.fork()
    if worker == 0:
        time.sleep(20)
        os._exit(0)
    try:
        lock.release(path)
        assert lock.holder_of(path) == ""
    finally:
        os.kill(worker, signal.SIGKILL)
        os.waitpid(worker, 0)


def test_where_a_folder_has_no_locks_work_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(_: int, __: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with lock.alone(tmp_path / "x.lock", "it"):
        assert lock.holder_of(tmp_path / "x.lock") == ""
