"""Worker processes: one that is killed, or cannot be started, ends the work in one line and leaves nothing waiting."""

import os
import signal
import threading
from multiprocessing import active_children

import pytest

from supcon.errors import UserError
from supcon.storage.processes import require_tasks, worker_pool
from supcon.storage.sizes import bytes_text
from tests.processes import start_one_process_alone


def test_a_killed_worker_is_one_line() -> None:
    with pytest.raises(UserError, match="a worker process was killed, most likely"), worker_pool(2) as pool:
        pool.submit(os._exit, 9).result()


def test_workers_end_at_once_when_they_are_told_to_whatever_their_parent_would_do() -> None:
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        with worker_pool(1) as pool:
            assert pool.submit(signal.getsignal, signal.SIGTERM).result() == signal.SIG_DFL
    finally:
        signal.signal(signal.SIGTERM, before)


def test_workers_that_cannot_all_be_started_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    begun = start_one_process_alone(monkeypatch)
    with pytest.raises(UserError, match="no more processes or threads can be started"), worker_pool(2):
        pass
    begun[0].join(5)
    assert begun[0] not in active_children()


def test_threads_that_cannot_be_started_are_told_before_a_library_waits_for_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = threading.active_count()
    require_tasks(20)
    assert threading.active_count() == before
    begin, begun = threading.Thread.start, list[threading.Thread]()

    def start(thread: threading.Thread) -> None:
        if len(begun) == 3:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        begin(thread)

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(UserError, match="no more processes or threads can be started"):
        require_tasks(4)
    assert threading.active_count() == before


def test_what_has_not_begun_when_the_work_ends_is_not_done() -> None:
    with worker_pool(1) as pool:
        waiting = [pool.submit(int) for _ in range(2000)]
    assert any(future.cancelled() for future in waiting)


def test_sizes_have_the_unit_that_shows_them() -> None:
    sizes = (0, 999, 4000, 63_900_000, 1.2e9, 3e12, 5e15)
    assert [bytes_text(size) for size in sizes] == [
        "0 bytes", "999 bytes", "4 kB", "63.9 MB", "1.2 GB", "3 TB", "5e+03 TB",
    ]  # fmt: skip
