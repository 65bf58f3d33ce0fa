"""What is kept of images where nobody says it: what is there, else what fits into half of the free disk."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from supcon.errors import UserError
from supcon.images.cache import open_cache
from supcon.images.choose import chosen_store
from supcon.images.hashes import content_hashes
from supcon.images.reading import DEFAULT
from supcon.images.store import store_of
from supcon.settings.settings import DataSettings
from tests.images.make import saved, smooth
from tests.images.test_cache import write

DATA = DataSettings(image_size=64)
PIXELS = 40 * 74 * 74 * 3  # bytes
JPEG = 40 * 1200


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what sets the bytes that are free on every disk."""
    usage = shutil.disk_usage("/")
    return lambda count: monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=count))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Forty different images of 80 x 80 pixels."""
    images = [smooth(80, 80) // (1 + number % 8) + number for number in range(40)]
    return write(tmp_path / "in", [saved(image, "PNG") for image in images])


def choice(tmp_path: Path, files: list[Path], data: DataSettings = DATA) -> DataSettings:
    cache = tmp_path / "cache"
    return chosen_store(data, cache, files, content_hashes(cache, files), DEFAULT)


def build(tmp_path: Path, files: list[Path], data: DataSettings) -> None:
    cache = tmp_path / "cache"
    open_cache(cache, files, content_hashes(cache, files), data.image_size, data.fit, store=store_of(data))


def test_the_first_store_that_fits_into_half_of_the_free_disk_is_taken(
    tmp_path: Path, files: list[Path], free: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    for count, store in ((2 * PIXELS, "pixels"), (2 * PIXELS - 2, "jpeg"), (3 * JPEG, "jpeg"), (JPEG // 2, "files")):
        free(count)
        assert choice(tmp_path, files).store == store
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3  # pixels need none
    speed = r"decoding one takes [\d.]+ ms, so that a core feeds at most [\d,]+ images/s$"
    kept = r"images: kept as JPEG of quality 95, [\d.]+ kB, since pixels \(657 kB\) would .* 1.31 MB free; "
    assert re.match(kept + speed, lines[0])
    assert re.match(
        rf"images: read from their files at each use, since pixels .* and JPEG \(.*\) would.*; {speed}", lines[2]
    )
    assert choice(tmp_path, files, replace(DATA, store="pixels")).store == "pixels"  # asked for


def test_images_at_prediction_count_too(tmp_path: Path, files: list[Path], free: Callable[[int], None]) -> None:
    free(2 * PIXELS)
    assert choice(tmp_path, files, replace(DATA, test_size=64)).store == "pixels"
    assert choice(tmp_path, files, replace(DATA, test_size=32)).store == "jpeg"


@pytest.mark.parametrize("store", ["pixels", "jpeg", "files"])
def test_a_store_that_is_there_is_taken_however_full_the_disk_is(
    tmp_path: Path, files: list[Path], free: Callable[[int], None], store: str, capsys: pytest.CaptureFixture[str]
) -> None:
    build(tmp_path, files, replace(DATA, store=store))  # type: ignore[arg-type]
    capsys.readouterr()
    for count in (0, 10**12):
        free(count)
        assert choice(tmp_path, files).store == store
    assert capsys.readouterr().out == ""


def test_of_several_that_are_there_the_fastest_is_taken(tmp_path: Path, files: list[Path]) -> None:
    for store in ("files", "jpeg"):
        build(tmp_path, files, replace(DATA, store=store))
    assert choice(tmp_path, files).store == "jpeg"
    assert choice(tmp_path, files, replace(DATA, jpeg_quality=80)).store == "files"  # another JPEG is none


def test_a_store_that_is_there_at_all_sizes_is_taken_where_the_faster_one_lacks_one_that_does_not_fit(
    tmp_path: Path, files: list[Path], free: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    both = replace(DATA, test_size=32)
    build(tmp_path, files, replace(DATA, store="pixels"))
    for size in (DATA.image_size, 32):
        build(tmp_path, files, replace(DATA, store="jpeg", image_size=size))
    free(0)
    capsys.readouterr()
    assert choice(tmp_path, files, both).store == "jpeg"
    assert "images: kept as JPEG of quality 95, since pixels (" in capsys.readouterr().out


def test_a_store_that_does_not_fit_is_refused_with_those_that_may(
    tmp_path: Path, files: list[Path], free: Callable[[int], None]
) -> None:
    free(1000)
    with pytest.raises(
        UserError, match=r"40 decoded images may take .*: make room, .* or use --data.store jpeg or files$"
    ):
        build(tmp_path, files, replace(DATA, store="pixels"))
    with pytest.raises(UserError, match=r"40 JPEG images may take .* larger disk, or use --data.store files$"):
        build(tmp_path, files, replace(DATA, store="jpeg"))
    build(tmp_path, files, replace(DATA, store="files"))


def test_images_that_cannot_be_read_do_not_keep_a_store_from_being_chosen(
    tmp_path: Path, free: Callable[[int], None]
) -> None:
    free(0)
    files = [*write(tmp_path / "in", [b"", b"text"] * 5), tmp_path / "gone.png"]
    assert choice(tmp_path, files).store in ("jpeg", "files")
