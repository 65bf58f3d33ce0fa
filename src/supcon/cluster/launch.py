"""A training stage by several processes: `--nproc` starts them here, or torchrun does.

torch's own launcher does the work; here its pages of logs become one line. Nothing imports torch before there is work.
"""

import gc
import json
import logging
import os
import pickle
import signal
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from supcon import errors
from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.run.stage import StageRun
from supcon.run.stages import page_of
from supcon.settings import Request
from supcon.storage import lock
from supcon.storage.processes import RENDEZVOUS, in_job

Main = Callable[[Sequence[str] | None], None]

_QUIET = "SUPCON_LAUNCHED"  # set for processes whose failure `launch` tells
_GRACE = 3.0  # seconds in which torchrun ends a process that failed only because another one did


class RankFailed(Exception):
    """A process failed in a way that is no user's fault; its traceback is on stderr."""


def launch(experiment: Experiment, name: str) -> bool:
    """Let `--nproc` processes run the stage `name`, where that is asked for and there is work; say whether they did.

    Raises `UserError` where one of them does or is killed, `RankFailed` where one fails otherwise.
    """
    request, processes = experiment.request, experiment.settings.nproc
    if processes == 1 or in_job():
        return False
    if not request.force and not [fold for fold in experiment.folds if not experiment.stage(name, fold).done()]:
        return False
    print(f"{name}: {processes} processes share every batch", flush=True)
    _start(name, request, processes)
    return True


def work(experiment: Experiment, name: str) -> Iterator[tuple[int, StageRun]]:
    """Yield the folds of a stage whose work is this process's to do, as `Experiment.work` does.

    Of several processes the first one decides, and holds the lock; it waits where another job is at a fold.
    """
    if not in_job():
        yield from experiment.work(name)
        return
    from supcon.training import ranks
    from supcon.training.device import set_up_device

    ranks.join(set_up_device(experiment.settings.machine))
    for fold in experiment.folds:
        stage = experiment.stage(name, fold)
        if ranks.broadcast(ranks.is_first() and stage.ready()):
            yield fold, stage
            ranks.broadcast(fold)  # the first one writes: the others wait until its files are there


def run_stage(main: Main) -> None:
    """Run the `main` of a stage that several processes may share as a command, or as one of these processes."""
    if in_job():
        _run_rank(main)
    try:
        errors.run_stage(main)
    except RankFailed:  # its traceback is told
        sys.exit(1)


def _run_rank(main: Main) -> NoReturn:
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")  # before the import: its remarks come from every process
    threading.Thread(target=_die_with_launcher, args=[os.getppid()], daemon=True).start()
    if os.environ["RANK"] != "0":
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115  # to the end; the first process says it all
        warnings.simplefilter("ignore")
    errors.settle_output()
    status = 0
    try:
        main(None)
        gc.collect()  # ends the workers of loaders
        from supcon.training import ranks

        ranks.leave()
    except KeyboardInterrupt:
        status = 130
    except Exception as error:
        known = errors.told(error)
        status = 1 if known is None else 2
        _report(known or error)
    lock.release_all()  # which an exit handler does otherwise: os._exit calls none
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)  # gloo's threads sometimes abort the interpreter's own way out, after all is done (torch 2.13)


def _die_with_launcher(launcher: int) -> None:
    while os.getppid() == launcher:
        time.sleep(1)
    os._exit(1)


def _report(error: Exception) -> None:
    """Leave word of an error for the launcher; print it where that is torchrun, unless another process's came first."""
    is_user_error = isinstance(error, UserError)
    text = str(error) if is_user_error else traceback.format_exc()
    word = {
        "message": {"message": str(error), "extraInfo": {"timestamp": str(int(time.time()))}},  # as torchrun reads it
        "text": text,
        "is_user_error": is_user_error,
        # gloo raises plain RuntimeErrors (torch 2.13), nccl and the store DistBackendError and its like
        "lost_another": "gloo" in str(error) or type(error).__name__.startswith("Dist"),
        "time": time.time(),
    }
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        with open(file, "w") as output:
            json.dump(word, output)
    if _QUIET in os.environ:
        return
    if not (is_user_error and os.environ["RANK"] == "0"):
        time.sleep(_GRACE)
    if isinstance(error, UserError):
        errors.tell(error)
    else:
        print(text, file=sys.stderr, flush=True)


def _start(name: str, request: Request, processes: int) -> None:
    from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.launcher.api import LaunchConfig, elastic_launch

    with tempfile.TemporaryDirectory(prefix="supcon-") as folder:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            logs_specs=DefaultLogsSpecs(log_dir=folder),  # for the words that failing processes leave
            run_id="supcon",
            rdzv_backend="c10d",
            rdzv_endpoint=str(Path(folder) / "launcher"),  # files: a TCP store listens on every address
            rdzv_configs={"store_type": "file"},
            max_restarts=0,
        )
        path = Path(folder) / "request"
        path.write_bytes(pickle.dumps(request))
        source, before = str(Path(__file__).resolve().parents[2]), dict(os.environ)
        path_before = before.get("PYTHONPATH")
        os.environ["PYTHONPATH"] = f"{source}{os.pathsep}{path_before}" if path_before else source  # this clone's code
        os.environ[_QUIET] = "1"
        os.environ["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] = "1"  # nobody needs that server
        os.environ[RENDEZVOUS] = str(Path(folder) / "processes")
        logging.disable(logging.CRITICAL)
        try:
            with errors.raised_signals():  # torch has handlers of its own, and leaves them
                elastic_launch(config, sys.executable)("-m", __name__, name, str(path), str(request.run_folder))
        except ChildFailedError as error:
            _tell(error.failures, processes, f"{name} of run {request.run}")
        except SignalException as error:
            raise errors.Interrupted(error.sigval) from None
        finally:
            logging.disable(logging.NOTSET)
            os.environ.clear()
            os.environ.update(before)


def _tell(failures: Mapping[int, Any], processes: int, what: str) -> NoReturn:
    """Raise what ended a job: torch's `failures` by rank include those that failed because another did."""
    words = [failure.error_file_data for failure in failures.values() if "text" in failure.error_file_data]
    words.sort(key=lambda word: (word["lost_another"], word["time"]))
    killed = [(-failure.exitcode, rank) for rank, failure in failures.items() if failure.exitcode < 0]
    if killed and all(word["lost_another"] for word in words):
        later = [signal.SIGTERM, signal.SIGABRT]  # the launcher's, and an answer to a lost connection
        number, rank = max(killed, key=lambda pair: later.index(pair[0]) if pair[0] in later else len(later))
        raise UserError(
            f"{what}: process {rank} of {processes} (from 0) was ended by {signal.Signals(number).name}"
            f"{', perhaps for want of memory' * (number == signal.SIGKILL)}:"
            " the same command, without --force, goes on from the last finished epoch"
        )
    if not words:
        raise RankFailed(f"{what}: a process ended with status {next(iter(failures.values())).exitcode}")
    if words[0]["is_user_error"]:
        raise UserError(words[0]["text"])
    print(words[0]["text"], file=sys.stderr, flush=True)
    raise RankFailed(words[0]["message"]["message"])


def _run_launched(_: Sequence[str] | None) -> None:
    """Run the stage that `launch` names, as one of its processes."""
    name, path, _ = sys.argv[1:]  # the last, the run's folder, is for who looks at the list of processes
    page_of(name).run(pickle.loads(Path(path).read_bytes()))


if __name__ == "__main__":
    run_stage(_run_launched)
