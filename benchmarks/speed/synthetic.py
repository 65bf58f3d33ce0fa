"""A competition of made-up photographs: smooth colour noise, whose mean tells the class, as JPEG files."""

from pathlib import Path

import cv2
import numpy as np


def write_competition(folder: Path, rows: int, classes: int, side: int, test_rows: int = 1) -> None:
    """Write train/, test/, train.csv and sample_submission.csv of `rows` and `test_rows` images of `side` pixels."""
    draw = np.random.default_rng(0)
    colours = draw.integers(60, 196, size=(classes, 3))
    for part, count in (("train", rows), ("test", test_rows)):
        (folder / part).mkdir(parents=True, exist_ok=True)
        table = ["id,label"]
        for number in range(count):
            label = number % classes
            coarse = colours[label] + draw.normal(0, 40, size=(side // 8 + 1, side // 8 + 1, 3))
            image = cv2.resize(np.clip(coarse, 0, 255).astype(np.uint8), (side, side), interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(folder / part / f"{part}{number:05d}.jpg"), image)
            table.append(f"{part}{number:05d},c{label:03d}")
        name = "train.csv" if part == "train" else "sample_submission.csv"
        (folder / name).write_text("\n".join(table) + "\n")
