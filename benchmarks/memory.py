"""Does pre-training need more memory for a training set of ten times the size? Peak megabytes of both, and their ratio.

    python benchmarks/memory.py                  # 10,000 and 100,000 rows
    python benchmarks/memory.py --rows 2000      # and 20,000

Random images of 28 x 28 pixels, no two alike, in 50 classes; the smoke config, with its loader processes. The peak is
that of the stage's process and its workers together, from their start until some seconds after training began, pages
that they share counted once (Pss).
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

REPOSITORY = Path(__file__).resolve().parents[1]
SOURCE = REPOSITORY / "src"
sys.path.insert(0, str(REPOSITORY))

from benchmarks.process_usage import family, held  # noqa: E402

CONFIG = str(SOURCE.parent / "configs" / "smoke.yaml")
CLASSES, SIDE, TIMES = 50, 28, 10
LIMIT = 1.1
TRAINING = 15.0  # seconds of training that are watched
INTERVAL = 0.3  # seconds between two looks


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000, help="rows of the smaller training set (default: 10,000)")
    options = parser.parse_args()
    sizes = (options.rows, TIMES * options.rows)
    print("| training rows | memory, MB |\n|---|---|")
    peaks = []
    for size in sizes:
        peaks.append(peak_of_pretrain(size))
        print(f"| {size:,} | {peaks[-1]:.0f} |", flush=True)
    print(f"| ratio (asked for: under {LIMIT}) | {peaks[1] / peaks[0]:.3f} |")


def peak_of_pretrain(rows: int) -> float:
    """Return the peak, in megabytes, of pre-training on a competition of so many rows."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_competition(root, rows)
        flags = ["--root", folder, "--config", CONFIG, "--machine.workers=1", "--machine.threads=1"]
        subprocess.run([sys.executable, str(SOURCE / "make_folds.py"), *flags], check=True, stdout=subprocess.DEVNULL)
        command = [sys.executable, str(SOURCE / "pretrain.py"), *flags, "--fold", "0", "--pretrain.epochs=1000"]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, start_new_session=True)
        try:
            return watch(process)
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def write_competition(root: Path, rows: int) -> None:
    """Write input/ of so many training rows, and folds.csv of two folds: to compare all images is not measured here."""
    draw = np.random.default_rng(0)
    names = [f"{part}_{number:07d}" for part, count in (("train", rows), ("test", 100)) for number in range(count)]
    for part in ("train", "test"):
        (root / "input" / part).mkdir(parents=True)
    for name in names:
        image = draw.integers(0, 256, (SIDE, SIDE, 3)).astype(np.uint8)
        cv2.imwrite(str(root / "input" / name.split("_")[0] / f"{name}.png"), image, [cv2.IMWRITE_PNG_COMPRESSION, 0])
    labels = [f"class {number % CLASSES}" for number in range(rows)]
    lines = [f"{name},{label}\n" for name, label in zip(names[:rows], labels, strict=True)]
    (root / "input" / "train.csv").write_text("id,label\n" + "".join(lines))
    (root / "input" / "sample_submission.csv").write_text(
        "id,label\n" + "".join(f"{name},{labels[0]}\n" for name in names[rows:])
    )
    folds = [f"{line.rstrip()},,{number // CLASSES % 2}\n" for number, line in enumerate(lines)]
    (root / "folds").mkdir()
    (root / "folds" / "folds.csv").write_text("id,label,group,fold\n" + "".join(folds))


def watch(process: "subprocess.Popen[bytes]") -> float:
    """Return the peak of a process and its children, until some seconds after it has begun to train."""
    peak, trained = 0.0, 0.0
    while trained == 0 or time.perf_counter() - trained < TRAINING:
        if process.poll() is not None:
            raise RuntimeError(f"pretrain ended with status {process.returncode}")
        alive = list(family(process.pid))
        if trained == 0 and len(alive) > 1 and "torch" in maps_of(process.pid):  # decoders came before torch
            trained = time.perf_counter()
        peak = max(peak, sum(map(held, alive)))
        time.sleep(INTERVAL)
    return peak


def maps_of(process: int) -> str:
    return Path(f"/proc/{process}/maps").read_text()


if __name__ == "__main__":
    main()
