"""Which Ray works on tasks: one of this machine, which ends with the command, or one that runs; what each task has."""

import logging
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from supcon.cluster.on_ray import OnRay, no_answer
from supcon.cluster.tasks import InTurn, Runner, first_line
from supcon.errors import UserError, raised_signals
from supcon.settings import Request, Settings
from supcon.settings.tasks import TaskOptions
from supcon.storage.processes import available_cores, is_running

_OBJECTS = 80 * 2**20  # bytes for what tasks hand back: the least that Ray takes
_LONGEST_TMP = 24  # characters of a folder below which Ray's sockets have names that are short enough
_LOCAL = {  # read when Ray is imported
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",  # as on those systems, it listens on 127.0.0.1 alone
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # a task without a GPU of Ray's sees the one of --machine.device
}
_PINGS = {  # of the machines that tasks are at: by Ray's own, one that answers no more is noticed after 7 minutes
    "RAY_grpc_client_keepalive_time_ms": "65000",  # a Ray that was started without this setting takes none below 60 s
    "RAY_grpc_client_keepalive_timeout_ms": "10000",
}


@contextmanager
def open_runner(request: Request) -> Iterator[Runner]:
    """Yield what works on tasks: the Ray that `--jobs` or `--cluster` asks for, else this process."""
    if request.tasks.many:
        with open_cluster(request) as cluster:
            yield cluster
    else:
        yield InTurn()


@contextmanager
def open_cluster(request: Request) -> Iterator[OnRay]:
    """Start a Ray of this machine for `--jobs`, or join that of `--cluster`; afterwards end or leave it.

    Raises `UserError` where Ray is not installed, no cluster answers, or a task asks for more GPUs than there are here.
    """
    options = request.tasks
    cpus = options.cpus or max(1, available_cores() // options.jobs)
    if not options.cluster and cpus > available_cores():
        raise UserError(f"--task.cpus {cpus}: this machine has {available_cores()} cores")
    ray = _import_ray(options)
    if options.cluster:
        _require_answer(options.cluster)
        words: dict[str, Any] = {"address": options.cluster}
    else:
        words = {"address": "local", "num_cpus": options.jobs * cpus, "include_dashboard": False}
        words |= {"object_store_memory": _OBJECTS}
        print("tasks: starting Ray", flush=True)
    with _folder() as folder, raised_signals():
        if not options.cluster:
            words |= {"_temp_dir": folder}
        try:
            try:
                ray.init(log_to_driver=False, logging_level=logging.ERROR, **words)
            except Exception as error:  # Ray raises plain ones, too
                why = first_line(error)
                if options.cluster:
                    raise UserError(f"--cluster {options.cluster} cannot be used: {why}") from None
                cure = "ulimit -a, TMPDIR and the memory may say why"
                raise UserError(f"Ray cannot be started here: {why} ({cure})") from None
            with raised_signals():  # again: Ray has set handlers of its own
                nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
                yield OnRay(*_share(request.settings, options, cpus, nodes))
        finally:
            ray.shutdown()


def _share(settings: Settings, options: TaskOptions, cpus: int, nodes: Sequence[dict[str, float]]) -> tuple[int, float]:
    """Return the cores and GPUs of each task: what was asked for, or its share."""
    with_gpu = [node for node in nodes if node.get("GPU", 0) >= 1 and settings.machine.device in ("auto", "cuda")]
    count, gpus = int(sum(node["GPU"] for node in with_gpu)), 0.0
    if options.gpus is not None:
        gpus = options.gpus
    elif count:  # several tasks a GPU where there are more tasks than GPUs
        gpus = settings.nproc if settings.nproc > 1 else 1 / max(1, -(-options.jobs // count))
    if options.cluster and options.cpus is None:
        cpus = int(min((node.get("CPU", 1) / node["GPU"] for node in with_gpu), default=1) * (gpus or settings.nproc))
    cpus = max(1, cpus)
    if not any(node.get("CPU", 0) >= cpus and node.get("GPU", 0) >= gpus for node in nodes):
        asked = f"{cpus} core{'s' * (cpus > 1)}{f' and {gpus:g} GPUs' if gpus else ''}"
        if not options.cluster:  # its Ray was started with the cores that are asked for
            several = "s" * (gpus > 1)
            raise UserError(
                f"a task asks for {gpus:g} GPU{several}, this machine has {count}: lower --task.gpus or --nproc"
            )
        print(f"tasks: a task asks for {asked}, which no machine of the cluster has: waiting for one", flush=True)
    return cpus, gpus


def _import_ray(options: TaskOptions) -> Any:
    """Return the module, with its settings made. Raises `UserError` where it is not installed."""
    os.environ.update({"RAY_USAGE_STATS_ENABLED": "0"} | ({} if options.cluster else _LOCAL))
    os.environ.update(_PINGS | os.environ)
    try:
        import ray
    except ImportError:
        flag = "--cluster" if options.cluster else "--jobs"
        raise UserError(
            f"{flag} needs Ray: {shlex.quote(sys.executable)} -m pip install -r requirements-cluster.txt"
        ) from None
    # of processes that died, which the board tells of; private, as `read_ray_address`, so with another pin look again
    ray._private.worker.print_to_stdstream = lambda *_, **__: None
    return ray


@contextmanager
def _folder() -> Iterator[str]:
    """Yield a folder for Ray's sockets and logs; those that killed commands left are removed."""
    place = tempfile.gettempdir() if len(tempfile.gettempdir()) <= _LONGEST_TMP else "/tmp"
    for left in Path(place).glob("supcon-ray-*-*"):
        number = left.name.split("-")[2]
        if number.isdecimal() and not is_running(int(number)):
            shutil.rmtree(left, ignore_errors=True)
    prefix = f"supcon-ray-{os.getpid()}-"
    with tempfile.TemporaryDirectory(prefix=prefix, dir=place, ignore_cleanup_errors=True) as folder:
        yield folder


def _require_answer(cluster: str) -> None:
    """Raise `UserError` where nobody listens: Ray would try for two minutes."""
    import ray

    address = cluster
    if cluster == "auto":  # as `ray start` leaves it on its machine
        address = os.environ.get("RAY_ADDRESS") or ray._private.utils.read_ray_address() or ""
    if why := no_answer(address):
        where = f" ({address}: {why})" if address else ""
        raise UserError(
            f"--cluster {cluster}: no Ray answers{where}: start one by `ray start --head`, and give the HOST:PORT that"
            " it prints"
        )
