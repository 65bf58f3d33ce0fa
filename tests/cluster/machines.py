"""A Ray cluster of machines that are processes on loopback: `python -m tests.cluster.machines CPUS GPUS COUNT`.

Prints its address, then waits for lines on stdin about the machine whose process PID works for it. `kill PID` ends it
with all that runs there, as a reset does: what others had open to it is closed. `freeze PID` lets it and all that runs
there do and answer nothing more, as a power cut does; they still hold their locks, until `kill PID`.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


class Machines:
    """Some machines that are one cluster."""

    def __init__(self, process: "subprocess.Popen[str]", address: str) -> None:
        self._process, self.address = process, address

    def end(self, worker: int, how: str = "kill") -> None:
        """End the machine that a process works on: `kill` or `freeze` it."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{how} {worker}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def machines(cpus: int = 1, gpus: int = 0, count: int = 2) -> Iterator[Machines]:
    """Start a cluster in a process of its own, and end it."""
    words, pipe = [sys.executable, "-m", "tests.cluster.machines", str(cpus), str(gpus), str(count)], subprocess.PIPE
    # else 127.0.0.1 is not taken for the address of a machine
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
    process = subprocess.Popen(
        words, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, cwd=REPOSITORY, env=environment
    )
    try:
        assert process.stdout is not None
        address = next(line for line in process.stdout if line.startswith("address ")).split()[1]
        yield Machines(process, address)
    finally:
        process.communicate(timeout=60)


def main() -> None:
    """Start the machines and end them as asked, all of them at the end of stdin."""
    from ray.cluster_utils import Cluster

    cpus, gpus, count = map(int, sys.argv[1:])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(count):
        cluster.add_node(num_cpus=cpus, num_gpus=gpus)
    print(f"address {cluster.address}", flush=True)
    for line in sys.stdin:
        how, worker = line.split()
        to_all_of(parent(int(worker)), signal.SIGSTOP if how == "freeze" else signal.SIGKILL)
        print("done", flush=True)
    cluster.shutdown()


def children(process: int) -> list[int]:
    """Return the processes that a process started and that are there."""
    return [int(path.name) for path in Path("/proc").glob("[0-9]*") if parent(int(path.name)) == process]


def parent(process: int) -> int:
    """Return the number of the process that started this one; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def to_all_of(process: int, number: int) -> None:
    """Send a signal to a process and all that it started."""
    started = children(process)
    with suppress(ProcessLookupError):
        os.kill(process, number)
    for child in started:
        to_all_of(child, number)


if __name__ == "__main__":
    main()
