"""Competitions of a few black images, in any layout."""

from collections.abc import Callable, Iterable
from pathlib import Path

import cv2
import numpy as np
import pytest

from supcon.competition.read import Competition, read_competition
from supcon.settings.settings import DataSettings

Read = Callable[..., Competition]


def write_images(folder: Path, names: Iterable[str]) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The host's folder, still empty."""
    path = tmp_path / "input"
    path.mkdir()
    return path


@pytest.fixture
def read(folder: Path) -> Read:
    """Read that folder with some of `data`'s settings."""
    return lambda **settings: read_competition(folder, folder.parent / "cache", DataSettings(**settings))
