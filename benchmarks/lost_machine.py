"""How long until another machine goes on with what a lost one was at? python benchmarks/lost_machine.py

A Ray cluster of two machines of one core, which are processes on loopback; one pre-trains a fold. It is killed, as a
reset does (what others had open to it is closed), or frozen, as a power cut does (it answers no more), with Ray as it
comes and with the settings of docs/scaling.md. Printed are the seconds until the other begins, and from then until it
has done the next epoch. Nothing else should run.
"""

import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY)]

from tests.cluster.machines import machines  # noqa: E402

SETTINGS = ["--config", "configs/smoke.yaml", "--pretrain.epochs", "200", "--machine.workers", "0"]
LOOPBACK = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}  # else 127.0.0.1 is not taken for this machine
QUICK = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "3000",
    "RAY_health_check_failure_threshold": "3",
    "RAY_grpc_client_keepalive_time_ms": "5000",
    "RAY_grpc_client_keepalive_timeout_ms": "5000",
}
PATIENCE = 300.0  # seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=3)
    options = parser.parse_args()
    print("| machine | the other begins after, s | and has done an epoch after further, s |\n|---|---|---|")
    for name, how, settings in (("killed", "kill", {}), ("frozen", "freeze", {}), ("frozen, quick", "freeze", QUICK)):
        os.environ.update(LOOPBACK | settings)
        rows = [lost(how) for _ in range(options.times)]
        columns = list(zip(*rows, strict=True))
        cells = [f"{statistics.median(column):.1f} ({min(column):.1f} to {max(column):.1f})" for column in columns]
        print(f"| {name} | {cells[0]} | {cells[1]} |", flush=True)


def lost(how: str) -> tuple[float, float]:
    """Lose a machine that trains; return the seconds until the other begins, and from there to its next epoch."""
    with tempfile.TemporaryDirectory(prefix="lost-") as root, machines() as two:
        split = [sys.executable, "src/make_folds.py", "--root", root, *SETTINGS]
        subprocess.run(split, cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)
        words = [sys.executable, "src/pretrain.py", "--fold", "0", "--root", root, *SETTINGS, "--cluster", two.address]
        with subprocess.Popen(words, cwd=REPOSITORY, stdout=subprocess.DEVNULL) as command:
            log = wait_for(Path(root), r"epoch 3/")
            worker = int(re.findall(r", process (\d+)", log.read_text())[-1])
            two.end(worker, how)
            ended = time.perf_counter()
            wait_for(Path(root), r"(?s), process .*, process ")
            begun = time.perf_counter()
            if how == "freeze":
                two.end(worker)  # gives back the lock of the fold, as a file server does
            wait_for(Path(root), r"(?s)goes on after epoch.* epoch \d+/")
            trained = time.perf_counter()
            command.terminate()
    return begun - ended, trained - begun


def wait_for(root: Path, pattern: str) -> Path:
    """Return the fold's log once it holds what matches."""
    until = time.perf_counter() + PATIENCE
    while time.perf_counter() < until:
        for log in root.glob("runs/*/fold0/log.txt"):
            if re.search(pattern, log.read_text()):
                return log
        time.sleep(0.05)
    raise SystemExit(f"no {pattern!r} in the log after {PATIENCE:.0f} s")


if __name__ == "__main__":
    main()
