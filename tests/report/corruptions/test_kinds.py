"""Damage follows from the row alone, and grows with the severity."""

import hashlib
import subprocess
import sys

import numpy as np
import pytest

from supcon.images.geometry import Image
from supcon.report.corruptions.kinds import NAMES, SEVERITIES, STATES, Corruptions
from tests.conftest import REPOSITORY


def image(side: int) -> Image:
    """A disc and a gradient: edges, flat parts and colours."""
    y, x = np.mgrid[:side, :side] / side
    disc = np.hypot(x - 0.5, y - 0.5) < 0.3
    return np.stack([200 * disc + 20, 60 + 120 * x, 30 + 100 * y], axis=-1).astype(np.uint8)


def damaged(side: int, row: int) -> dict[tuple[str, int], Image]:
    corruptions = Corruptions(side)
    return {state: corruptions.damage(image(side), row, *state) for state in STATES}


def test_there_are_twelve_corruptions_in_five_severities_beside_the_image_itself() -> None:
    assert len(NAMES) == 12
    assert len(SEVERITIES) == 5
    assert len(STATES) == 61
    assert np.array_equal(Corruptions(28).damage(image(28), 0, *STATES[0]), image(28))


@pytest.mark.parametrize("side", [28, 224])
def test_every_state_is_an_image_of_the_same_size_and_damaged(side: int) -> None:
    for state, result in damaged(side, 3).items():
        assert result.shape == (side, side, 3), state
        assert result.dtype == np.uint8
        assert (result != image(side)).any() == (state[1] > 0), state


@pytest.mark.parametrize("side", [28, 224])
@pytest.mark.parametrize("name", NAMES)
def test_damage_grows_with_the_severity(side: int, name: str) -> None:
    corruptions = Corruptions(side)
    rows = range(8)  # mean over draws
    harm = [
        np.mean([np.abs(corruptions.damage(image(side), row, name, severity).astype(float) - image(side)).mean()
                 for row in rows])
        for severity in SEVERITIES
    ]  # fmt: skip
    assert harm[0] > 0.1
    assert harm[-1] > 1.5 * harm[0]
    assert all(after > 0.95 * before for before, after in zip(harm, harm[1:], strict=False))


def test_damage_depends_on_the_row_and_not_on_the_order() -> None:
    corruptions = Corruptions(28)
    state = ("gaussian noise", 3)
    first = corruptions.damage(image(28), 5, *state)
    other = corruptions.damage(image(28), 6, *state)
    assert (first != other).any()
    assert np.array_equal(corruptions.damage(image(28), 5, *state), first)


def fingerprint() -> str:
    return hashlib.sha256(b"".join(image.tobytes() for image in damaged(28, 3).values())).hexdigest()


def test_another_process_damages_alike() -> None:
    code = "from tests.report.corruptions.test_kinds import fingerprint; print(fingerprint())"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == fingerprint()
