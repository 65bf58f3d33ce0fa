"""A cache that is damaged is made anew, or named; never read as if it were whole."""

import multiprocessing
import re
from pathlib import Path

import numpy as np
import pytest

from supcon.errors import UserError
from supcon.storage.files import read_npz, write_npz
from tests.images.make import noise, saved
from tests.images.test_cache import opened, write


@pytest.mark.parametrize("name", ["index.npz", "pixels-000.bin"])
@pytest.mark.parametrize("damage", ["halved", "empty", "gone", "longer"])
def test_a_damaged_cache_is_made_anew_and_that_is_said(
    tmp_path: Path, name: str, damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    files = write(tmp_path / "in", [saved(noise(4, 4), "PNG"), saved(noise(6, 5), "PNG")])
    whole = [np.array(opened(tmp_path / "cache", files)[position]) for position in range(2)]
    file = next((tmp_path / "cache").glob(f"images-*/{name}"))
    content = file.read_bytes()
    file.write_bytes({"halved": content[: len(content) // 2], "longer": content + b"x" * 999}.get(damage, b""))
    if damage == "gone":
        file.unlink()
    if (name, damage) == ("index.npz", "longer"):
        return  # what stands after a zip's end harms nothing
    capsys.readouterr()
    again = opened(tmp_path / "cache", files)
    for position, image in enumerate(whole):
        np.testing.assert_array_equal(image, again[position])
    assert re.search(r"images: .*images-\w+ is damaged: it is made anew", capsys.readouterr().out)
    opened(tmp_path / "cache", files)
    assert "anew" not in capsys.readouterr().out


def test_a_changed_pixel_is_named_with_the_folder_to_delete_in_any_process(tmp_path: Path) -> None:
    files = write(tmp_path / "files", [saved(noise(30, 20), "PNG") for _ in range(5)])
    images = opened(tmp_path / "cache", files)
    images[3]
    (pixels,) = (tmp_path / "cache").glob("images-*/pixels-000.bin")
    content = bytearray(pixels.read_bytes())
    content[-1] ^= 1
    pixels.write_bytes(content)
    images = opened(tmp_path / "cache", files)
    images[3]
    with pytest.raises(UserError, match=r"pixels-000\.bin is damaged .*: delete .*/images-\w+, and the next command"):
        images[4]
    with multiprocessing.get_context("spawn").Pool(1) as pool, pytest.raises(UserError, match="is damaged"):
        pool.apply(images.__getitem__, [4])
    pixels.write_bytes(bytes(len(content)))
    with pytest.raises(UserError, match="is damaged"):
        opened(tmp_path / "cache", files)[0]


def test_a_cache_of_an_earlier_version_without_checksums_is_used_as_it_is(tmp_path: Path) -> None:
    files = write(tmp_path / "files", [saved(noise(30, 20), "PNG") for _ in range(3)])
    before = opened(tmp_path / "cache", files)[1].copy()
    (index,) = (tmp_path / "cache").glob("images-*/index.npz")
    arrays = {name: array for name, array in read_npz(index).items() if name != "checksums"}
    write_npz(index, arrays)
    np.testing.assert_array_equal(opened(tmp_path / "cache", files)[1], before)
