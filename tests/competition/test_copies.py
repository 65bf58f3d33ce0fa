"""Copies among the images are sorted by what they mean."""

from pathlib import Path

import numpy as np
import pytest

from supcon.competition.read import Competition
from supcon.competition.survey import find_copies, remembered_copies
from supcon.images.cache import open_cache
from supcon.images.hashes import content_hashes
from tests.competition.conftest import Read, write_images


@pytest.fixture
def competition(folder: Path, read: Read) -> Competition:
    """Four training rows of two classes, two test rows."""
    write_images(
        folder, ["train/x/0.png", "train/x/1.png", "train/y/2.png", "train/y/3.png", "test/4.png", "test/5.png"]
    )
    (folder / "sample_submission.csv").write_text("id,label\n4,x\n5,x\n")
    return read()


def test_copies_by_way_of_a_test_image_are_copies_too(competition: Competition) -> None:
    copies = find_copies(competition, np.array([[0, 4], [1, 4], [4, 5]]))
    assert copies.within_train.tolist() == [[0, 1]]
    assert copies.test_in_train.tolist() == [[0, 4], [0, 5]]
    assert len(copies.contradictions) == 0


def test_copies_with_another_label_are_named(competition: Competition) -> None:
    copies = find_copies(competition, np.array([[1, 2], [4, 5]]))
    assert copies.contradictions.tolist() == [[1, 2]]
    assert len(copies.test_in_train) == 0
    assert copies.text(competition) == [
        "1 training images are copies of others: copies share a fold",
        "1 of them have another label, first train/x/1.png (x) and train/y/2.png (y): one of the two is wrong",
    ]
    assert find_copies(competition, np.zeros((0, 2), np.int64)).text(competition) == []


@pytest.mark.parametrize("damage", ["halved", "empty", "another array"])
def test_a_damaged_list_of_copies_is_made_anew(
    competition: Competition, tmp_path: Path, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    cache = tmp_path / "cache"
    images = open_cache(cache, competition.files, content_hashes(cache, competition.files), 8, "crop")
    first = remembered_copies(cache, images)
    (file,) = cache.glob("copies-of-*.npz")
    if damage == "another array":
        np.savez(file, other=first)
    else:
        file.write_bytes(file.read_bytes()[: 0 if damage == "empty" else file.stat().st_size // 2])
    np.testing.assert_array_equal(remembered_copies(cache, images), first)
    assert "is damaged: it is made anew" in capsys.readouterr().out
    np.testing.assert_array_equal(remembered_copies(cache, images), first)
    assert "anew" not in capsys.readouterr().out
