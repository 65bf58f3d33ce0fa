"""Processes that tests let start, or not."""

import errno
import os
from multiprocessing.process import BaseProcess

import pytest


def start_one_process_alone(monkeypatch: pytest.MonkeyPatch) -> list[BaseProcess]:
    """Let the system refuse every process but the first; return a list that will hold that one."""
    begin, begun = BaseProcess.start, list[BaseProcess]()

    def start(process: BaseProcess) -> None:
        if begun:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        begun.append(process)
        begin(process)

    monkeypatch.setattr(BaseProcess, "start", start)
    return begun
