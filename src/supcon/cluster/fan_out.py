"""Work on several folds of a run at once, each in a process of its own, as `./run.sh all --jobs 4` asks for.

    python -m supcon.cluster.fan_out JOBS "PAGE ..." [options of the stages]

run.sh names the stages' pages, in the order of their table. Every job has its share of the cores, and one GPU where
there are some: that of its slot among the jobs, modulo their number. A fold that fails leaves the others to go on; the
exit status is that of the first that failed.
"""

import multiprocessing
import os
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess

from supcon.errors import UserError, run_stage, settle_output, tell, told
from supcon.run.experiment import load_experiment
from supcon.run.stage import lock_file
from supcon.run.stages import STAGES, load_page
from supcon.settings import Request, fold_name, parse
from supcon.storage import lock
from supcon.storage.processes import CORES, available_cores, end_with_parent
from supcon.training.precision import choose_precision

GPUS = "CUDA_VISIBLE_DEVICES"


@dataclass(frozen=True)
class Job:
    """A process at work on a fold."""

    fold: int
    slot: int  # among the jobs at work at once
    process: SpawnProcess
    receiver: Connection  # the error that ended it


@dataclass(frozen=True)
class Failure:
    """How a fold's process ended."""

    fold: int
    message: str
    status: int


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stages of all folds asked for."""
    words = list(sys.argv[1:] if argv is None else argv)
    if len(words) < 2 or not words[0].isdecimal() or int(words[0]) < 1:
        raise UserError("name how many folds to work on at once, and the stages: as ./run.sh all --jobs 4 does")
    jobs, pages = int(words[0]), words[1].split()
    stages = [stage for stage in STAGES if stage.module in pages]
    for stage in stages:
        if not stage.per_fold:
            raise UserError(f"--jobs works on several folds at once, and {stage.name} is of all together: leave it out")
    request = parse(__doc__, words[2:], per_fold=True)
    if request.settings.nproc > 1:
        raise UserError("--nproc shares the batches of one fold, --jobs works on several folds: use one of them")
    experiment = load_experiment(request)
    experiment.open_training_images()  # decoded before, by all cores together
    experiment.open_prediction_images()
    folds = experiment.folds
    slots = environments(min(jobs, len(folds)), visible_gpus(request.settings.machine.device))
    if any(stage.curves for stage in stages):
        with started_with(slots[0]):
            request = choose_precision(experiment).request  # once, by the share of a job, for all jobs
    failures = fan_out(request, pages, folds, slots)
    if failures:
        tell(UserError(described(failures)))
        sys.exit(failures[0].status)


def fan_out(
    request: Request, pages: Sequence[str], folds: list[int], slots: Sequence[Mapping[str, str]]
) -> list[Failure]:
    """Run the stages of `pages` for each fold, one fold in each of the `slots` (environments); return what failed."""
    waiting, working, failures = list(folds), list[Job](), list[Failure]()
    try:
        while waiting or working:
            while waiting and len(working) < len(slots):
                waiting.remove(fold := next_fold(request, pages, waiting))
                slot = min(set(range(len(slots))) - {job.slot for job in working})
                with started_with(slots[slot]):
                    working.append(start(request, pages, fold, slot))
            ended = wait([job.process.sentinel for job in working])
            for job in [job for job in working if job.process.sentinel in ended]:
                working.remove(job)
                if failure := failure_of(job):
                    failures.append(failure)
                    if waiting or working:
                        print(f"fold {fold_name(job.fold)} stopped, the others go on: {failure.message}", flush=True)
    finally:  # interrupted: all end
        for job in working:
            job.process.terminate()
        for job in working:
            job.process.join()
    return failures


def next_fold(request: Request, pages: Sequence[str], folds: Sequence[int]) -> int:
    """Return the first fold that no other process is at; the first one where there is none."""
    return min(
        folds, key=lambda fold: any(lock.holder_of(lock_file(request.fold_folder(fold), page)) for page in pages)
    )


def start(request: Request, pages: Sequence[str], fold: int, slot: int) -> Job:
    """Start a fold's process: a fresh one, since a fork of this one would share its libraries' threads."""
    spawn = multiprocessing.get_context("spawn")
    receiver, sender = spawn.Pipe(duplex=False)
    process = spawn.Process(target=run_fold, args=(request, pages, fold, sender), name=f"fold {fold_name(fold)}")
    process.start()
    sender.close()
    return Job(fold, slot, process, receiver)


def run_fold(request: Request, pages: Sequence[str], fold: int, sender: Connection) -> None:
    """Run the stages of a fold, in its process."""
    end_with_parent()
    settle_output()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # in order: locks are given back
    sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]  # whole lines, among those of others
    sys.stderr.isatty = lambda: False  # type: ignore[method-assign]  # progress bars would overwrite each other
    try:
        for page in pages:
            load_page(page).run(replace(request, folds=[fold]))
    except Exception as error:
        if (known := told(error)) is None:
            raise
        sender.send(str(known))
        sys.exit(2)
    finally:
        lock.release_all()


def failure_of(job: Job) -> Failure | None:
    """Return how the process of a job failed; None where it did not."""
    job.process.join()
    status = job.process.exitcode or 0
    if status == 0:
        return None
    if job.receiver.poll() and status == 2:
        return Failure(job.fold, str(job.receiver.recv()), status)
    killed = " (killed, perhaps for want of memory)" if status == -signal.SIGKILL else ""
    return Failure(job.fold, f"its process ended with status {status}{killed}", status if status > 0 else 128 - status)


def described(failures: Sequence[Failure]) -> str:
    """Return one line that says which folds failed, and why; what is alike once."""
    folds: dict[str, list[str]] = {}
    for failure in failures:
        folds.setdefault(failure.message, []).append(fold_name(failure.fold))
    parts = [f"fold{'s' * (len(names) > 1)} {', '.join(names)}: {message}" for message, names in folds.items()]
    return f"{'; '.join(parts)} (the same command, without --force, goes on from what is finished)"


def environments(jobs: int, gpus: Sequence[str]) -> list[dict[str, str]]:
    """Return the environment of each slot: its share of the cores and its GPU."""
    share = str(max(1, available_cores() // jobs))
    cores = {CORES: share, "OMP_NUM_THREADS": share}  # for ours, and for the libraries' own threads
    return [cores | ({GPUS: gpus[slot % len(gpus)]} if gpus else {}) for slot in range(jobs)]


def visible_gpus(device: str) -> list[str]:
    """Return the GPUs that jobs may be given, as CUDA_VISIBLE_DEVICES names them; none where a device was chosen."""
    if device not in ("auto", "cuda"):
        return []
    if GPUS in os.environ:
        return [name for name in os.environ[GPUS].split(",") if name]
    if shutil.which("nvidia-smi") is None:  # so that torch need not be loaded for the answer
        return []
    import torch

    return [str(number) for number in range(torch.cuda.device_count())]


@contextmanager
def started_with(environment: Mapping[str, str]) -> Iterator[None]:
    """Let the processes that are started within have `environment` too, and leave the interrupt to this one."""
    before = dict(os.environ)
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    os.environ.update(environment)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        signal.signal(signal.SIGINT, handler)


if __name__ == "__main__":
    run_stage(main)
