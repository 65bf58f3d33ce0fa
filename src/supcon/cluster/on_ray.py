"""Tasks side by side, on Ray.

Ray starts tasks where there is room, gives them their GPUs, and hands a task whose process or machine died to another.
There it goes on from its last epoch: the stages see to that, on a folder that all machines see. What a task prints goes
to a file in that folder, by which the command follows it.
"""

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TextIO

from supcon.cluster.follow import Board, LogReader
from supcon.cluster.tasks import Outcome, Task, first_line, run_here, value_of
from supcon.errors import UserError, settle_output
from supcon.settings import REPOSITORY
from supcon.storage.processes import CORES, MACHINE

_ASK_S = 15.0  # between two looks whether Ray is still there
_RETRIES = 3  # of a task whose process or machine died


class OnRay:
    """A Ray, which works on many tasks at once."""

    def __init__(self, cpus: int, gpus: float) -> None:
        """Take the cores and GPUs of each task."""
        import ray

        calls = 1 if gpus else 0  # 0: any number; a process keeps the GPU that it began with
        remote = ray.remote(max_calls=calls, max_retries=_RETRIES)(_work)
        self._work = remote.options(num_cpus=cpus, num_gpus=gpus, runtime_env=_environment(cpus))
        self._address, self._asked = ray.get_runtime_context().gcs_address, time.time()

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Work on tasks side by side and yield how each ended; lines tell where each began, and how it ended.

        Raises `UserError` where Ray ends before them.
        """
        with Board([(task.name, task.log) for task in tasks]) as board:
            waiting = {self._submit(task): task for task in tasks}
            while waiting:
                for reference in self._ended(list(waiting)):
                    outcome = self._outcome(waiting.pop(reference), reference)
                    board.look()
                    board.end(outcome.task.name, outcome.how, outcome.ended - outcome.started, outcome.failure)
                    yield outcome
                board.look()

    def call(self, task: Task) -> Any:
        """Return what a task returns, and print what it prints. Raises `UserError` with why it returns nothing."""
        log, reference = LogReader(task.log), self._submit(task)
        while not self._ended([reference]):
            pass
        for line in log.lines():
            if not line.startswith(f"{task.name}: on "):
                print(line, flush=True)
        return value_of(self._outcome(task, reference))

    def sharing(self, function: Callable[..., Any], first: Any) -> Callable[..., "Answer"]:
        """Return what calls `function(first, ...)` in the cluster's processes, which are handed `first` once."""
        import ray

        shared, call = ray.put(first), ray.remote(function).options(num_cpus=1, runtime_env=_environment(1))
        return lambda *arguments: Answer(self._ended, call.remote(shared, *arguments))

    def _ended(self, references: list[Any]) -> list[Any]:
        """Wait half a second for some of these to end. Raises `UserError` where Ray, which does not tell, has ended."""
        import ray

        if time.time() > self._asked + _ASK_S:
            self._asked = time.time()
            _require_still(self._address)
        ended: list[Any] = ray.wait(references, timeout=0.5)[0]
        return ended

    def _outcome(self, task: Task, reference: Any) -> Outcome:
        import ray

        try:
            outcome: Outcome = ray.get(reference)
        except ray.exceptions.RayError as error:
            _require_still(self._address)
            failure = f"{_why_it_died(error)}: see {task.log}"
            outcome = Outcome(task, failure=failure, died=True)
        return outcome

    def _submit(self, task: Task) -> Any:
        task.log.parent.mkdir(parents=True, exist_ok=True)
        return self._work.remote(task)


class Answer:
    """What a call in another process will return."""

    def __init__(self, ended: Callable[[list[Any]], list[Any]], reference: Any) -> None:
        self._ended, self._reference = ended, reference

    def result(self) -> Any:
        """Wait for it, and return or raise it. Raises `UserError` where its process or Ray ended."""
        import ray

        while not self._ended([self._reference]):
            pass
        try:
            return ray.get(self._reference)
        except ray.exceptions.RayTaskError as error:
            raise error.cause from None
        except ray.exceptions.RayError as error:
            raise UserError(_why_it_died(error)) from None


def _environment(cpus: int) -> dict[str, dict[str, str]]:
    """Return what Ray sets in the processes of tasks: their share of the cores, and this clone's code."""
    cores = {CORES: str(cpus), "OMP_NUM_THREADS": str(cpus)}  # for ours, and for the libraries' own threads
    code = os.pathsep.join(filter(None, [str(REPOSITORY / "src"), os.environ.get("PYTHONPATH")]))
    return {"env_vars": {**cores, "PYTHONPATH": code}}


def _why_it_died(error: Exception) -> str:
    import ray

    of_memory = isinstance(error, ray.exceptions.OutOfMemoryError)
    if of_memory or isinstance(error, ray.exceptions.WorkerCrashedError | ray.exceptions.NodeDiedError):
        why = "for want of memory" if of_memory else "perhaps for want of memory"
        return f"its process was ended {_RETRIES + 1} times, {why}"
    return f"Ray could not do it: {first_line(error)}"


def _require_still(address: str) -> None:
    """Raise `UserError` where the Ray that worked on tasks is no longer there."""
    if no_answer(address) and no_answer(address):
        raise UserError(
            f"the Ray at {address} has ended: the same command goes on (with --cluster once one runs there)"
        )


def no_answer(address: str) -> str:
    """Return why nobody answers at HOST:PORT; empty where somebody does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except (OSError, ValueError, OverflowError) as error:
        return getattr(error, "strerror", None) or ("no address" if isinstance(error, ValueError) else "timed out")
    return ""


def _work(task: Task) -> Outcome:
    """Do a task, in a process that Ray started."""
    gpus = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    try:
        with task.log.open("a", buffering=1) as log, _printing_to(log):
            print(f"{task.name}: on {MACHINE}, process {os.getpid()}{f', GPU {gpus}' if gpus else ''}", flush=True)
            outcome = replace(run_here(task), gpus=gpus)
            if outcome.defect:
                return replace(outcome, failure=f"{outcome.failure} ({task.log} has it whole)")
            return outcome
    except OSError as error:
        failure = f"{MACHINE} cannot write {task.log} ({error.strerror}): remove it, or let all machines see its folder"
        return Outcome(task, failure=failure, machine=MACHINE, gpus=gpus)


@contextmanager
def _printing_to(file: TextIO) -> Iterator[None]:
    """Let all that this process prints go to a file, C libraries and the processes that it starts included."""
    before, streams = [os.dup(1), os.dup(2)], (sys.stdout, sys.stderr)
    try:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
        sys.stdout = sys.stderr = file
        settle_output()
        yield
    finally:
        sys.stdout, sys.stderr = streams
        for stream, former in enumerate(before, 1):
            os.dup2(former, stream)
            os.close(former)
