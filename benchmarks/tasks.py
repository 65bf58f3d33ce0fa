"""A study's cells side by side, against one after the other: python benchmarks/tasks.py [--cells 40] [--jobs 2]

On a CPU: one after the other with all threads and with one, then `--jobs` with a thread each. `--gpus 8` adds a cluster
of so many simulated GPUs, whose timeline is drawn. `--json FILE` keeps the numbers. Nothing else should run.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import yaml

REPOSITORY = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(REPOSITORY)]

from tests.cluster.machines import machines  # noqa: E402

THREAD = ["--machine.threads", "1", "--machine.workers", "0"]
WIDTH = 100  # characters of a timeline


def main() -> None:
    """Time the ways and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=40)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=2, help="epochs of fine-tuning of a cell")
    parser.add_argument("--gpus", type=int, default=0)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tasks-") as folder:
        rows = measured(Path(folder), options)
    print("\n| way | seconds | first line of a task after, s | times as fast |\n|---|---|---|---|")
    for name, row in rows.items():
        print(f"| {name} | {row['seconds']:.0f} | {row['first']:.1f} | {rows_ratio(rows, row):.2f} |")
    if options.json:
        options.json.write_text(json.dumps(rows))


def measured(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, float]]:
    """Return the seconds of each way."""
    side = ["--jobs", str(options.jobs)]
    ways = {"one after the other": [], f"{options.jobs} jobs": side}
    if options.device == "cpu":
        ways = {
            "one after the other, all threads": [],
            "one after the other, one thread": THREAD,
            f"{options.jobs} jobs of one thread": [*side, "--task.cpus", "1", *THREAD],
        }
    rows = {}
    for number, (name, flags) in enumerate(ways.items()):
        rows[name] = timed(prepared(folder / str(number), options), flags)
        print(name, rows[name], flush=True)
    if options.gpus:
        with machines(cpus=8, gpus=options.gpus, count=1) as one:
            root = prepared(folder / "gpus", options)
            flags = ["--cluster", one.address, "--task.gpus", "1", "--task.cpus", "1", *THREAD]
            # without it the command does not take 127.0.0.1 for its own address
            environment = {**os.environ, "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"}
            rows[f"{options.gpus} simulated GPUs"] = timed(root, flags, environment)
        print(timeline(root / "runs" / "cells" / "tasks.csv"))
    return rows


def rows_ratio(rows: dict[str, dict[str, float]], row: dict[str, float]) -> float:
    """Return how many times as fast a way is as the first one."""
    return next(iter(rows.values()))["seconds"] / row["seconds"]


def prepared(root: Path, options: argparse.Namespace) -> Path:
    """Make a root with the built-in digits decoded and split, and the file of the study."""
    root.mkdir(parents=True)
    rates = [0.002 + 0.0005 * number for number in range(max(1, options.cells // 4))]
    variants = {f"lr{number}": {"finetune.lr": rate} for number, rate in enumerate(rates)}
    flags = {"data.folds": 2, "finetune.epochs": options.epochs}
    content = {"config": "configs/smoke.yaml", "flags": flags, "baseline": "lr0", "variants": variants}
    rounds = [{"folds": [0, 1], "seeds": [0, 1]}]
    (root / "cells.yaml").write_text(yaml.safe_dump({**content, "rounds": rounds}))
    shell(["-m", "supcon.commands.doctor", "--quick", "--config", "configs/smoke.yaml", "--root", str(root)])
    return root


def timed(root: Path, flags: list[str], environment: dict[str, str] | None = None) -> dict[str, float]:
    """Return the seconds of a study, and of its start up to the first line of a task."""
    words = ["-m", "supcon.commands.study", str(root / "cells.yaml"), "--root", str(root), *flags]
    began, first = time.perf_counter(), 0.0
    with subprocess.Popen(
        [sys.executable, "-u", *words], env=environment, cwd=REPOSITORY, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if not first and line.startswith("lr"):
                first = time.perf_counter() - began
    if process.returncode:
        raise SystemExit(f"{' '.join(words)} ended with status {process.returncode}")
    return {"seconds": round(time.perf_counter() - began, 1), "first": round(first, 1)}


def timeline(path: Path) -> str:
    """Return when each GPU worked on which task, a line a GPU; a letter a task, a dot where it had none."""
    table = pd.read_csv(path).sort_values("started")
    start, end = table["started"].min(), table["ended"].max()
    lines = {gpu: ["."] * WIDTH for gpu in sorted(table["gpus"].unique())}
    for number, (gpu, began, ended) in enumerate(zip(table["gpus"], table["started"], table["ended"], strict=True)):
        first, last = (round((moment - start) / (end - start) * (WIDTH - 1)) for moment in (began, ended))
        lines[gpu][first : last + 1] = [chr(ord("A") + number % 26)] * (last + 1 - first)
    return "\n".join(f"GPU {gpu}  {''.join(line)}" for gpu, line in lines.items())


def shell(words: list[str]) -> None:
    """Run a command of the project; end where it fails."""
    subprocess.run([sys.executable, *words], cwd=REPOSITORY, stdout=subprocess.DEVNULL, check=True)


if __name__ == "__main__":
    main()
