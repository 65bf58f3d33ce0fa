"""What the project's stages take beside a plain loop: `benchmarks/run.sh` prints this table in under 15 minutes.

Both contenders do each row's work in processes of their own, one after the other in turns, so that what else the
machine does meets both; medians of the turns. plain.py says what the plain loop is.
"""

import argparse
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parents[1]), str(HERE.parents[1] / "src")]

from benchmarks.decision import macro_f1_seconds  # noqa: E402
from benchmarks.memory import peak_of_pretrain  # noqa: E402
from benchmarks.speed.synthetic import write_competition  # noqa: E402
from benchmarks.startup import measure  # noqa: E402

from supcon.storage.processes import available_cores  # noqa: E402

EPOCHS = 30  # of the linear heads
LITE = ["--encoder=tf_efficientnet_lite0", "--side=128"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns of each contender")
    parser.add_argument("--only", help="rows whose name holds this word")
    options = parser.parse_args()
    started = time.perf_counter()
    print(f"{_processor()}, {available_cores()} cores, Python {platform.python_version()}, "
          + ", ".join(f"{name} {metadata.version(name)}" for name in ("torch", "torchvision", "timm", "albumentations"))
          + f"; medians of {options.repeats}\n", flush=True)  # fmt: skip
    print("| what | plain | ours | ratio | asked for |\n|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        for name, (row, wanted) in ROWS.items():
            if not options.only or options.only in name:
                plain, ours, ratio = row(Path(folder), options.repeats)
                print(f"| {name} | {plain} | {ours} | {ratio} | {wanted} |", flush=True)
    print(f"\n{(time.perf_counter() - started) / 60:.1f} minutes", flush=True)


Row = tuple[str, str, str]  # of the plain loop, ours, the ratio


def pretraining(folder: Path, repeats: int, side: int, rows: int, flags: list[str], steps: int) -> Row:
    """Images a second of contrastive pre-training, data loading included."""
    root = folder / f"pretrain{side}"
    write_competition(root / "input", rows, classes=64, side=max(side, 32) * 2 if side > 32 else 32)
    plain, ours = _turns(
        repeats,
        lambda: _number("plain.py", "pretrain", root / "input", *flags, f"--steps={steps}"),
        lambda: _ours("pretrain", root, *flags),
    )
    return f"{plain:.0f} images/s", f"{ours:.0f} images/s", f"{ours / plain:.1f}x"


def linear_heads(folder: Path, repeats: int) -> Row:
    """Seconds of five linear heads; the plain loop's are those of one epoch, times the epochs."""
    root = folder / "heads"
    write_competition(root / "input", rows=2000, classes=64, side=32)
    plain, ours = _turns(
        repeats,
        lambda: EPOCHS * _number("plain.py", "heads", root / "input"),
        lambda: _ours("heads", root, f"--epochs={EPOCHS}"),
    )
    return f"{plain:.0f} s", f"{ours:.1f} s", f"{plain / ours:.0f}x"


def prediction(folder: Path, repeats: int) -> Row:
    """Seconds of 200 test images in five folds' models and four views."""
    root = folder / "predict"
    write_competition(root / "input", rows=100, classes=10, side=256, test_rows=200)
    plain, ours = _turns(
        repeats,
        lambda: _number("plain.py", "predict", root / "input", *LITE, "--classes=10"),
        lambda: _ours("predict", root, *LITE, "--batch=80"),
    )
    return f"{plain:.0f} s", f"{ours:.1f} s", f"{plain / ours:.1f}x"


def tuning_trial(_: Path, repeats: int) -> Row:
    """Seconds of macro-F1 over 100,000 rows of 100 classes."""
    ours, theirs = macro_f1_seconds(100_000, 100, repeats)
    return f"{theirs * 1e3:.1f} ms", f"{ours * 1e3:.2f} ms", f"{theirs / ours:.0f}x"


def memory(_: Path, __: int) -> Row:
    """Peak megabytes of pre-training with a training set and with one of ten times its size."""
    small, large = (peak_of_pretrain(rows) for rows in (10_000, 100_000))
    return f"10,000 rows: {small:.0f} MB", f"100,000 rows: {large:.0f} MB", f"{large / small:.2f}x"


def startup(_: Path, repeats: int) -> Row:
    """Seconds to the first line of the slowest stage."""
    medians = {times.start.script: statistics.median(times.seconds) for times in measure(repeats=repeats)}
    slowest = max(medians, key=lambda script: medians[script])
    return "", f"{medians[slowest]:.1f} s ({slowest})", ""


ROWS: dict[str, tuple[Callable[[Path, int], Row], str]] = {
    "pre-training, resnet18, 32 px, batch 256 x 2 views": (
        lambda folder, repeats: pretraining(folder, repeats, 32, 2560, [], steps=6), "1.7x"),
    "pre-training, tf_efficientnet_lite0, 128 px, batch 256 x 2 views": (
        lambda folder, repeats: pretraining(folder, repeats, 128, 1280, LITE, steps=1), "1.4x"),
    f"five-fold linear heads, resnet18, 32 px, 2,000 rows, {EPOCHS} epochs": (linear_heads, "20x"),
    "prediction, 5 folds x 4 views, tf_efficientnet_lite0, 128 px": (prediction, "1.5x"),
    "macro-F1 of one tuning trial, 100,000 x 100, beside scikit-learn": (tuning_trial, "50x"),
    "memory of pre-training, ten times the training set": (memory, "under 1.1x"),
    "start of any stage to its first line, the slowest": (startup, "under 3 s"),
}  # fmt: skip


def _turns(repeats: int, *contenders: Callable[[], float]) -> list[float]:
    """Return each contender's median over turns."""
    turns = [[contender() for contender in contenders] for _ in range(repeats)]
    return [statistics.median(turn) for turn in zip(*turns, strict=True)]


def _ours(what: str, root: Path, *words: str) -> float:
    """Return ours.py's number, of a run that begins anew: the decoded images are made anew too where they are timed."""
    for name in ("runs", "folds"):
        shutil.rmtree(root / name, ignore_errors=True)
    if what == "predict":
        for cached in (root / "cache").glob("images-*"):
            shutil.rmtree(cached)
    return _number("ours.py", what, root, *words)


def _number(script: str, what: str, folder: Path, *words: str) -> float:
    """Return the number that a script prints last."""
    command = [sys.executable, str(HERE / script), what, str(folder), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)} failed:\n{done.stderr}")
    return float(done.stdout.split()[-1])


def _processor() -> str:
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
