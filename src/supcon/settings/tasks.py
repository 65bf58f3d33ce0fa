"""Options of commands that have many trainings to do: how many at once, where, and what each asks of a machine.

They belong to one call: no run keeps them, and no fingerprint holds them.
"""

import argparse
from dataclasses import dataclass
from typing import Any

from supcon.errors import UserError


@dataclass(frozen=True)
class TaskOptions:
    """How many tasks (a fold's stages, a study's cell) are worked on at once, and what each has of a machine."""

    jobs: int = 1  # at once, on this machine
    cluster: str = ""  # the address of a Ray cluster that runs, or auto; empty: this machine
    gpus: float | None = None  # None: a share of those that there are
    cpus: int | None = None  # None: a share of the cores that there are

    @property
    def many(self) -> bool:
        """Whether tasks are worked on side by side."""
        return self.jobs > 1 or bool(self.cluster)

    def __str__(self) -> str:
        return f"on the Ray cluster {self.cluster}" if self.cluster else f"{self.jobs} at once on this machine, by Ray"


def add_task_options(parser: Any) -> None:
    """Add these options to a command's parser."""
    text = "tasks (a fold, a study's cell) to work on at once, on this machine, by Ray (default: 1, without Ray)"
    parser.add_argument("--jobs", metavar="N", type=int, help=text)
    text = "work on a Ray cluster that runs: HOST:PORT as `ray start` prints it, or auto"
    parser.add_argument("--cluster", metavar="ADDRESS", type=str, help=text)
    text = "GPUs that each task has, 0.5 for two tasks a GPU (default: its share of the machine)"
    parser.add_argument("--task.gpus", metavar="N", type=float, help=text)
    text = "cores that each task has, as so many threads (default: its share of the machine)"
    parser.add_argument("--task.cpus", metavar="N", type=int, help=text)


def read_task_options(options: argparse.Namespace) -> TaskOptions:
    """Return the options that a command was given. Raises `UserError` for what they cannot be."""
    jobs, cluster, task = (getattr(options, name, None) for name in ("jobs", "cluster", "task"))
    gpus, cpus = getattr(task, "gpus", None), getattr(task, "cpus", None)
    read = TaskOptions(1 if jobs is None else jobs, cluster or "", gpus, cpus)
    if read.jobs < 1:
        raise UserError(f"--jobs {jobs}: give 1 or more")
    if cluster == "" or read.cluster.startswith("ray://"):
        raise UserError(f"--cluster {cluster!r} is no address: give HOST:PORT, as `ray start` prints it, or auto")
    if read.cluster and jobs is not None:
        raise UserError(
            "--jobs is for this machine, --cluster for a Ray cluster, where as many tasks run as fit: not both"
        )
    if cpus is not None and cpus < 1:
        raise UserError(f"--task.cpus {cpus}: give 1 or more")
    if gpus is not None and not (0 <= gpus <= 1 or gpus > 1 and gpus.is_integer()):
        raise UserError(f"--task.gpus {gpus}: give a part of one GPU, such as 0.5, or a whole number")
    if not read.many and (gpus, cpus) != (None, None):
        raise UserError("--task.gpus and --task.cpus apply to tasks side by side: give --jobs or --cluster too")
    return read
