"""One process at a time in a place, on one machine or on several."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from supcon.storage import lock
from supcon.storage.processes import HOST
from tests.conftest import REPOSITORY

TAKE = "import sys, time; from pathlib import Path; from supcon.storage import lock; lock.take(Path(sys.argv[1]), 'it')"
FAR = "far 4711 another-kernel\n"  # the mark of a process on another machine


def holder(path: Path, then: str = "time.sleep(60)", take: str = TAKE) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", f"{take}; print('held', flush=True); {then}", str(path)]
    environment = {"PYTHONPATH": str(REPOSITORY / "src")}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def mark_of(path: Path, text: str, seconds_ago: float = 0.0) -> Path:
    mark = path.with_name(f"{path.name}-holder")
    mark.write_text(text)
    os.utime(mark, (time.time() - seconds_ago,) * 2)
    return mark


def test_a_second_process_is_told_who_is_there_and_a_killed_one_leaves_no_lock(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    first = holder(path)
    try:
        assert lock.holder_of(path) == f"{HOST}, process {first.pid}"
        assert lock.try_take(path, "it") == f"{HOST}, process {first.pid}"
    finally:
        first.send_signal(signal.SIGKILL)
        first.wait()
    assert lock.holder_of(path) == ""
    assert lock.try_take(path, "it") == ""
    assert lock.try_take(path, "it") == ""  # its own, again
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


def test_a_process_that_ends_leaves_no_mark_behind(tmp_path: Path) -> None:
    assert holder(tmp_path / "x.lock", "sys.exit(0)").wait() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["x.lock"]


def test_a_released_lock_is_free_while_a_worker_process_of_its_holder_lives(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    assert lock.try_take(path, "it") == ""
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


def no_locks(_: int, __: int) -> None:
    raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))


@pytest.mark.parametrize("works", [True, False], ids=["locks of this machine alone", "no locks at all"])
def test_another_machine_holds_what_it_keeps_marking(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, works: bool
) -> None:
    if not works:
        monkeypatch.setattr(fcntl, "flock", no_locks)
    monkeypatch.setattr(lock, "_SETTLE", 0.01)
    path = tmp_path / "x.lock"
    path.touch()
    mark = mark_of(path, FAR, seconds_ago=lock.STALE - 20)
    assert lock.try_take(path, "it") == "far, process 4711"
    assert lock.holder_of(path) == "far, process 4711"
    assert mark.read_text() == FAR
    mark_of(path, FAR, seconds_ago=lock.STALE + 1)  # it has died
    assert lock.holder_of(path) == ""
    assert lock.try_take(path, "it") == ""
    assert mark.read_text().split()[:2] == [HOST, str(os.getpid())]
    lock.release(path)
    assert not mark.exists()


def test_of_two_machines_that_take_over_one_mark_at_once_the_later_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "x.lock"
    mark = mark_of(path, "gone 1 a-third-kernel\n", seconds_ago=lock.STALE + 1)
    monkeypatch.setattr(lock, "_SETTLE", 0.3)
    threading.Timer(0.1, mark_of, (path, FAR)).start()
    assert lock.try_take(path, "it") == "far, process 4711"
    assert mark.read_text() == FAR


def test_a_holder_renews_its_mark_and_ends_where_another_machine_has_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "x.lock"
    process = holder(path, take=TAKE.replace("lock.take", "lock.BEAT = 0.05; lock.take"))
    mark = path.with_name("x.lock-holder")
    os.utime(mark, (0, 0))
    waited = time.time()
    while mark.stat().st_mtime < 1 and time.time() - waited < 10:
        time.sleep(0.02)
    assert mark.stat().st_mtime > 1
    mark.write_text(FAR)
    _, said = process.communicate(timeout=10)
    assert process.returncode == 2
    assert said.startswith("error: it was taken over by far, process 4711")
    assert said.count("\n") == 1
    assert mark.read_text() == FAR
