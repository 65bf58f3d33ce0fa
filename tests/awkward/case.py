"""Competitions as people really have them: an ordinary one, what makes it awkward, and what is right then."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

CLASSES = ("ant", "bee", "cat")
TRAIN = tuple(range(24))  # numbers of the training images; the class of image n is CLASSES[n % 3]
TEST = tuple(range(100, 106))


@dataclass(frozen=True)
class Case:
    """One awkward form of the input and what is right: `doctor` reads it (and says so), or asks in one line."""

    name: str
    change: Callable[[Path], None]  # gets input/ with the ordinary competition
    asks: str = ""  # pattern of the error's line; "" where it is read
    says: str = ""  # pattern in what doctor prints; "" where there is nothing to say
    classes: tuple[str, ...] = CLASSES
    train: int = len(TRAIN)  # rows read
    test: int = len(TEST)
    flags: list[str] = field(default_factory=list)
    composes: bool = True  # whether another change may follow on the same folder


def ordinary(folder: Path) -> None:
    """Write the ordinary competition: train.csv, sample_submission.csv and PNG images in train/ and test/."""
    for number in (*TRAIN, *TEST):
        part = "train" if number in TRAIN else "test"
        write_image(folder / part / f"img{number}.png", number)
    write_tables(folder)


def write_tables(folder: Path, name: Callable[[int], str] = "img{}".format) -> None:
    """Write both tables, with ids that `name` makes of the images' numbers."""
    train = "".join(f"{name(number)},{CLASSES[number % 3]}\n" for number in TRAIN)
    (folder / "train.csv").write_text(f"id,label\n{train}", encoding="utf-8")
    sample = "".join(f"{name(number)},ant\n" for number in TEST)
    (folder / "sample_submission.csv").write_text(f"id,label\n{sample}", encoding="utf-8")


def write_image(path: Path, number: int, **options: Any) -> None:
    """Write the image of that number; the suffix tells the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels(number)).save(path, **options)


def pixels(number: int, side: int = 24) -> npt.NDArray[np.uint8]:
    """Return noise around the colour of the image's class, uint8 [side, side, 3]."""
    draw = np.random.default_rng(number)
    colour = np.full(3, 60) + 120 * (np.arange(3) == number % 3)
    coarse = draw.integers(0, 60, (4, 4, 3)).repeat(side // 4, 0).repeat(side // 4, 1)
    return np.clip(colour + coarse + draw.normal(0, 6, (side, side, 3)), 0, 255).astype(np.uint8)


def images_in(folder: Path) -> Iterator[Path]:
    """Yield all images below a folder, in order."""
    yield from sorted(path for path in folder.rglob("*") if path.suffix == ".png")
