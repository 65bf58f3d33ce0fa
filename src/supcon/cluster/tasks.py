"""Work that can be done side by side: a fold's stages, a study's cell. Here in turn, by `on_ray` many at once."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from supcon.cluster.follow import Board
from supcon.errors import UserError, masked, told
from supcon.storage import lock
from supcon.storage.processes import MACHINE, give_memory_back


@dataclass(frozen=True)
class Task:
    """Work that some process does from its beginning to its end."""

    name: str  # unlike those of the tasks beside it
    work: Callable[..., Any]  # a function of a module
    arguments: tuple[Any, ...]
    log: Path  # takes what it prints
    shown: Callable[[Any], str] = lambda _: "done"  # what is told of its result


@dataclass(frozen=True)
class Outcome:
    """How a task ended."""

    task: Task
    value: Any = None  # what its work returned
    failure: str = ""  # why there is no value, one line
    machine: str = ""  # where it was worked on
    gpus: str = ""  # as CUDA_VISIBLE_DEVICES has it
    started: float = 0.0  # by the process that ended it; seconds since 1970
    ended: float = 0.0
    died: bool = False  # with its process, again and again
    defect: bool = False  # a failure that no user can mend: its traceback was printed

    @property
    def times(self) -> dict[str, str]:
        """Where and when it was worked on, as a row of a table."""
        times = {"started": f"{self.started:.1f}", "ended": f"{self.ended:.1f}"}
        return {"task": self.task.name, "machine": self.machine, "gpus": self.gpus, **times, "failed": self.failure}

    @property
    def how(self) -> str:
        """How it ended, in words."""
        return "stopped" if self.failure else self.task.shown(self.value)


class Runner(Protocol):
    """What works on tasks."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Work on tasks and yield how each ended."""

    def call(self, task: Task) -> Any:
        """Return what a task returns. Raises `UserError` with why it returns nothing."""


class InTurn:
    """This process, which works on one task after the other; what they print is printed."""

    def run(self, tasks: Sequence[Task]) -> Iterator[Outcome]:
        """Work on tasks and yield how each ended."""
        with Board([(task.name, task.log) for task in tasks], in_turn=True) as board:
            for task in tasks:
                board.begin(task.name)
                outcome = run_here(task)
                board.end(task.name, outcome.how, outcome.ended - outcome.started, outcome.failure)
                yield outcome

    def call(self, task: Task) -> Any:
        """Return what a task returns. Raises `UserError` with why it returns nothing."""
        return value_of(run_here(task))


def require_all(outcomes: Iterable[Outcome]) -> None:
    """Wait for tasks. Raises `UserError` with which of them failed, and why; what is alike once."""
    names: dict[str, list[str]] = {}
    for outcome in outcomes:
        if outcome.failure:
            names.setdefault(outcome.failure, []).append(outcome.task.name)
    if names:
        failures = "; ".join(f"{', '.join(tasks)}: {failure}" for failure, tasks in names.items())
        raise UserError(f"{failures} (the same command, without --force, goes on from what is finished)")


def run_here(task: Task) -> Outcome:
    """Do a task here. Whatever stops it, but for the user, is how it ended: the tasks beside it go on."""
    value, failure, defect, started = None, "", False, time.time()
    try:
        with lock.given_back():
            value = task.work(*task.arguments)
    except Exception as error:
        known = told(error)
        failure, defect = str(known or first_line(error)), known is None
        if defect:
            traceback.print_exc()
    outcome = Outcome(task, value, failure, MACHINE, "", started, time.time(), defect=defect)
    give_memory_back()  # a process does many tasks
    return outcome


def value_of(outcome: Outcome) -> Any:
    """Return what a task returned. Raises `UserError` with why it did not."""
    if outcome.failure:
        raise UserError(outcome.failure)
    return outcome.value


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of what it says, secrets hidden."""
    return masked(f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[0]}")
