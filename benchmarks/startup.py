"""Seconds from starting a stage's process to its first line, with work to do and with its work done.

    python benchmarks/startup.py                 # every stage, three times each
    python benchmarks/startup.py --stages pretrain tune --repeats 5

On the built-in competition, with a network of a few thousand weights, of which a run is first made in a temporary
folder. A stage that has work to do says first what it begins, before it imports torch; the process is ended at that
line. The seconds of the processors are those that it has used by then, in all its threads: on a shared machine they
tell more than the clock. `submit` and `download` are left out: they wait for the host.
"""

import argparse
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[1] / "src"
CONFIG = str(SOURCE.parent / "configs" / "smoke.yaml")
LIMIT = 3.0  # seconds
SETTINGS = [
    "--model.encoder=test_resnet", "--data.shots=20", "--finetune.epochs=1", "--predict.views=1", "--tune.trials=10",
    "--tune.bootstrap=100", "--machine.workers=0", "--machine.threads=1",
]  # fmt: skip
PIPELINE = ("make_folds", "pretrain", "finetune", "predict", "tune", "ensemble")
RUN = "runs/smoke"
STUDY = "config: configs/smoke.yaml\nbaseline: one\nvariants: {one: {}}\nrounds: [{seeds: [0], folds: [0]}]\n"


@dataclass(frozen=True)
class Start:
    """A stage to start."""

    script: str
    flags: tuple[str, ...] = ()
    lacks: tuple[str, ...] = ()  # what is removed from a finished root, so that there is work to do
    settings: bool = True  # whether it takes a config and settings

    @property
    def state(self) -> str:
        """Whether its work is done."""
        return "to do" if self.lacks else "done"


@dataclass(frozen=True)
class Measured:
    """How long a stage took to its first line."""

    start: Start
    seconds: list[float]  # by the clock, of each repeat
    processor: list[float]  # of the processors
    line: str


SECOND_ROUND = ("--run=two", "--pseudo.run=smoke")
STARTS = [
    Start("doctor", lacks=("input", "cache", "folds", "runs")),
    Start("doctor", ("--quick",)),
    Start("make_folds", lacks=("cache", "folds", "runs")),
    Start("make_folds"),
    Start("pseudo", SECOND_ROUND, lacks=("nothing",)),
    *(
        Start(script, lacks=lacks)
        for script in PIPELINE[1:]
        for lacks in ((), tuple(f"{RUN}/**/{name}.done.json" for name in PIPELINE[PIPELINE.index(script) :]))
    ),
    Start("report", ("--run=smoke",), lacks=("nothing",), settings=False),
    Start("compare", ("smoke", "twin"), lacks=("nothing",), settings=False),
    Start("bundle", ("--run=smoke",), lacks=("nothing",), settings=False),
    Start("check", ("submissions/submission.csv",)),
    Start("ledger", settings=False),
    Start("study", ("study.yaml",), lacks=("nothing",), settings=False),
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="starts of each stage (default: 3)")
    parser.add_argument("--stages", nargs="+", help="these alone")
    options = parser.parse_args()
    starts = [start for start in STARTS if not options.stages or start.script in options.stages]
    print("| stage | work | seconds: median | worst | of the processors | first line |")
    print("|---|---|---|---|---|---|")
    slowest = 0.0
    for times in measure(starts, options.repeats):
        middle, processor = statistics.median(times.seconds), statistics.median(times.processor)
        numbers = f"{middle:.2f} | {max(times.seconds):.2f} | {processor:.2f}"
        print(f"| {times.start.script} | {times.start.state} | {numbers} | {times.line[:60]} |", flush=True)
        slowest = max(slowest, middle)
    print(f"slowest median {slowest:.2f} s; asked for: under {LIMIT:g} s")


def measure(starts: Sequence[Start] = STARTS, repeats: int = 3) -> Iterator[Measured]:
    """Yield the times of each start, after one that is not counted: in all some minutes."""
    with tempfile.TemporaryDirectory() as folder:
        whole = finished_run(Path(folder) / "whole")
        for start in starts:
            tries = [first_line(start, whole, Path(folder) / "root") for _ in range(repeats + 1)][1:]
            seconds, processor, lines = zip(*tries, strict=True)
            yield Measured(start, list(seconds), list(processor), lines[0])


def finished_run(root: Path) -> Path:
    """Make a run, its twin and a study file below `root`."""
    for script in PIPELINE:
        subprocess.run(command(Start(script), root), check=True, stdout=subprocess.DEVNULL)
    shutil.copytree(root / RUN, root / "runs" / "twin")
    (root / "study.yaml").write_text(STUDY)
    return root


def command(start: Start, root: Path) -> list[str]:
    """Return the command line of a start."""
    settings = ["--config", CONFIG, *SETTINGS] if start.settings else []
    return [sys.executable, str(SOURCE / f"{start.script}.py"), *start.flags, "--root", str(root), *settings]


def first_line(start: Start, whole: Path, root: Path) -> tuple[float, float, str]:
    """Return the seconds by the clock and of the processors to the first line, and the line."""
    shutil.rmtree(root, ignore_errors=True)
    shutil.copytree(whole, root, ignore=lambda folder, _: ["input"] if folder == str(whole) else [])
    (root / "input").symlink_to(whole / "input")
    for pattern in start.lacks:
        for path in list(root.glob(pattern)):
            path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
    begun = time.perf_counter()
    process = subprocess.Popen(
        command(start, root), cwd=root, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    line = process.stdout.readline().rstrip()
    seconds = time.perf_counter() - begun
    if not line:
        raise RuntimeError(f"{start.script} said nothing and ended with status {process.wait()}")
    os.killpg(process.pid, signal.SIGKILL)  # with its workers
    _, _, used = os.wait4(process.pid, 0)
    process.returncode = -signal.SIGKILL
    return seconds, used.ru_utime + used.ru_stime, line.replace(str(root), "ROOT")


if __name__ == "__main__":
    main()
