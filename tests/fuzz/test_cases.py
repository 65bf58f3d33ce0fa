"""Awkward inputs that meet: two or three at once are read rightly, or refused in one line; never silently wrong."""

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from hypothesis import assume, given, note
from hypothesis import strategies as st

from supcon.competition.files.find import is_absent
from supcon.competition.survey import Survey
from supcon.errors import UserError
from supcon.images.geometry import Image
from tests.awkward.case import CLASSES, TEST, TRAIN, Case, ordinary, pixels
from tests.awkward.test_cases import CASES, look
from tests.fuzz.budget import assert_one_line, budget

COMPOSABLE = [case for case in CASES if case.composes and case.name != "ordinary"]
TRUE = {number: pixels(number).astype(float) for number in (*TRAIN, *TEST)}
NEAR = 12  # mean difference of colours within which a picture is one of the ordinary ones, however it was compressed


@budget(150)
@given(st.lists(st.sampled_from(COMPOSABLE), min_size=2, max_size=3, unique_by=lambda case: case.name))
def test_cases_that_meet(cases: list[Case]) -> None:
    note(f"cases: {[case.name for case in cases]}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "input"
        folder.mkdir()
        ordinary(folder)
        assume(all(changes(case, folder) for case in cases))
        try:
            seen = look(Path(name), flags_of(cases))
        except UserError as error:
            assert_one_line(error)
        else:
            assert_right(seen)


def changes(case: Case, folder: Path) -> bool:
    """Apply a case to what earlier ones left; False where these left nothing for it, or what it would wait for."""
    if any(path.is_fifo() or path.is_char_device() for path in folder.rglob("*")):
        return False
    try:
        case.change(folder)
    except Exception:
        return False
    return True


def flags_of(cases: Sequence[Case]) -> list[str]:
    """Return the flags of all cases; of two for one setting the first."""
    chosen: dict[str, str] = {}
    for flag in (flag for case in cases for flag in case.flags):
        chosen.setdefault(flag.partition("=")[0], flag)
    return list(chosen.values())


def assert_right(seen: Survey) -> None:
    """No image serves two rows; a training image shows its class, a test image the number of its id."""
    competition, images = seen.competition, seen.images
    there = [path for path in competition.paths if not is_absent(path)]
    assert len(set(there)) == len(there)
    labels = competition.train["label"].str.strip().str.casefold()
    for row, label in enumerate(labels):
        number = number_of(images[row])
        if number in TRAIN and set(labels) == set(CLASSES):
            assert CLASSES[number % 3] == label, competition.train.iloc[row]
        assert number not in TEST, competition.train.iloc[row]
    for row, name in enumerate(competition.test["id"], len(competition.train)):
        number, asked = number_of(images[row]), re.findall(r"\d+", name)[-1:]
        assert number not in TRAIN, name
        if number is not None and asked and int(asked[0]) in TEST:
            assert number == int(asked[0]), name


def number_of(image: Image) -> int | None:
    """Return the number of the ordinary picture that an image shows; None where it shows none."""
    if image.shape != TRUE[0].shape:
        return None
    differences = {number: float(np.abs(image - true).mean()) for number, true in TRUE.items()}
    nearest = min(differences, key=lambda number: differences[number])
    return nearest if differences[nearest] < NEAR else None
