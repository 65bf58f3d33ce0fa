"""TIFF of any number of bands, depth and layout comes out number by number; what is damaged has a reason."""

import io
import itertools
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from supcon.errors import UserError
from supcon.images.decode import read_image
from supcon.images.geometry import Unreadable
from supcon.images.pillow import declared_size
from supcon.images.reading import DEFAULT, Reading
from supcon.images.tiff import open_tiff
from tests.images.tiffs import tiff

LIMIT = 10**6


def numbers(kind: str, bands: int, height: int = 37, width: int = 21) -> np.ndarray:
    draw = np.random.default_rng(bands)
    if kind[0] == "f":
        return (draw.random((height, width, bands)) * 40 - 35).astype(kind)
    limits = np.iinfo(kind)
    return draw.integers(limits.min, limits.max, (height, width, bands), kind, endpoint=True)


def read(data: bytes) -> np.ndarray:
    picture = open_tiff(io.BytesIO(data))
    assert picture is not None
    return picture.values(LIMIT)


def image(folder: Path, data: bytes, reading: Reading = DEFAULT) -> np.ndarray:
    (folder / "image").write_bytes(data)
    return read_image(str(folder / "image"), reading).image


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i2", "f2", "u4", "i4", "f4", "u8", "f8"])
def test_numbers_of_every_depth_come_out_as_they_went_in(kind: str) -> None:
    for bands, planar, big_endian in itertools.product((1, 2, 3, 4, 5, 13), (False, True), (False, True)):
        values = numbers(kind, bands)
        for photometric in (1, 2) if bands > 2 else (1,):
            data = tiff(values, photometric=photometric, planar=planar, big_endian=big_endian, rows=8)
            np.testing.assert_array_equal(read(data), values)


@pytest.mark.parametrize("compression", [1, 8])
@pytest.mark.parametrize("predictor", [1, 2, 3])
@pytest.mark.parametrize("layout", [{"rows": 7}, {"tile": 16}, {"tile": 16, "planar": True}])
@pytest.mark.parametrize("big_endian", [False, True])
def test_strips_and_tiles_with_every_predictor_are_undone(
    compression: int, predictor: int, layout: dict[str, int], big_endian: bool
) -> None:
    for kind in ("f4", "f8", "f2") if predictor == 3 else ("u1", "u2", "i2", "u4"):
        values = numbers(kind, 4)
        data = tiff(
            values, compression=compression, predictor=predictor, big_endian=big_endian, **layout  # type: ignore[arg-type]
        )  # fmt: skip
        np.testing.assert_array_equal(read(data), values)


@pytest.mark.parametrize("compression", [5, 8, 32773])
def test_what_another_writer_packs_is_unpacked(compression: int) -> None:
    for kind, predictor in (("u1", 2), ("u2", 1), ("u2", 2), ("f4", 1), ("f4", 3)):
        if compression == 32773 and predictor > 1:
            continue  # goes without
        values = numbers(kind, 3)
        options = [cv2.IMWRITE_TIFF_COMPRESSION, compression, cv2.IMWRITE_TIFF_PREDICTOR, predictor]
        written, data = cv2.imencode(".tiff", values, options)
        assert written
        np.testing.assert_array_equal(read(data.tobytes())[..., ::-1], values)


def test_bands_beyond_the_third_are_left_out_unless_they_are_named(tmp_path: Path) -> None:
    values = numbers("u2", 5)
    for photometric, planar in itertools.product((1, 2), (False, True)):
        data = tiff(values, photometric=photometric, planar=planar)
        np.testing.assert_array_equal(image(tmp_path, data), values[..., :3] >> 8)
        chosen = image(tmp_path, data, Reading(bands=(5, 1, 4)))
        np.testing.assert_array_equal(chosen, values[..., [4, 0, 3]] >> 8)
        single = image(tmp_path, data, Reading(bands=(4,)))
        np.testing.assert_array_equal(single, np.repeat(values[..., [3]] >> 8, 3, axis=2))


def test_of_two_bands_the_first_is_shown_in_grey(tmp_path: Path) -> None:
    values = numbers("u2", 2)
    expected = np.repeat(values[..., :1] >> 8, 3, axis=2)
    np.testing.assert_array_equal(image(tmp_path, tiff(values)), expected)


def test_a_band_that_a_file_lacks_is_named_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"--data\.bands names band 6, but .*image has 5: name bands from 1 to 5"):
        image(tmp_path, tiff(numbers("u2", 5)), Reading(bands=(6, 1, 2)))


def test_transparency_is_laid_on_white_unless_bands_are_named(tmp_path: Path) -> None:
    values = numbers("u1", 4)
    values[..., 3] = 0
    data = tiff(values, photometric=2, extra=2)
    assert (image(tmp_path, data) == 255).all()
    np.testing.assert_array_equal(image(tmp_path, data, Reading(bands=(3, 2, 1))), values[..., [2, 1, 0]])


def test_white_is_zero_is_turned_round(tmp_path: Path) -> None:
    values = numbers("u2", 3)
    np.testing.assert_array_equal(image(tmp_path, tiff(values, photometric=0)), (65535 - values) >> 8)


def test_orientation_is_applied(tmp_path: Path) -> None:
    values = numbers("u2", 4)
    np.testing.assert_array_equal(image(tmp_path, tiff(values, t274=6)), np.rot90(values[..., :3], 3) >> 8)


def test_a_file_cut_anywhere_is_never_taken_for_whole(tmp_path: Path) -> None:
    for data in (tiff(numbers("u2", 4, 9, 8), rows=4), tiff(numbers("f4", 5, 9, 8), tile=16, compression=8)):
        (tmp_path / "image").write_bytes(data)
        read_image(str(tmp_path / "image"))
        for length in range(0, len(data), 7):
            (tmp_path / "image").write_bytes(data[:length])
            with pytest.raises(Unreadable):
                read_image(str(tmp_path / "image"))


def test_strips_that_a_file_lacks_are_no_black_rows(tmp_path: Path) -> None:
    for layout in ({"rows": 4}, {"tile": 16}, {"rows": 4, "compression": 8}):
        with pytest.raises(Unreadable, match="truncated: its pixels end too soon"):
            image(tmp_path, tiff(numbers("u2", 4, 9, 8), t257=9000, **layout))  # type: ignore[arg-type]


def test_flipped_bytes_give_an_image_or_a_reason(tmp_path: Path) -> None:
    draw, reasons = np.random.default_rng(0), list[str]()
    whole = tiff(numbers("u2", 4, 9, 8), rows=4, compression=8, predictor=2)
    for trial in range(200):
        data = bytearray(whole)
        data[int(draw.integers(len(data)) if trial % 2 else draw.integers(len(data) - 260, len(data)))] ^= (
            1 << trial % 8
        )
        try:
            assert image(tmp_path, bytes(data)).shape[2:] == (3,)
        except Unreadable as error:
            reasons.append(str(error))
    assert reasons
    assert not [reason for reason in reasons if "\n" in reason]


def test_what_is_not_read_is_one_honest_line(tmp_path: Path) -> None:
    packed = tiff(numbers("u2", 5), t259=7)  # JPEG
    with pytest.raises(Unreadable, match="damaged: its header cannot be read, or it is a rare kind of TIFF"):
        image(tmp_path, packed)


def test_the_limit_of_pixels_bounds_their_bytes_too(tmp_path: Path) -> None:
    values = numbers("f4", 13, 20, 20)
    with pytest.raises(Unreadable, match="over the limit"):
        image(tmp_path, tiff(values), Reading(pixel_limit=20 * 20))
    assert image(tmp_path, tiff(values), Reading(pixel_limit=20 * 20 * 8)).shape == (20, 20, 3)


def test_its_declared_size_is_known_before_it_is_decoded(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(tiff(numbers("f4", 7, 30, 20)))
    assert declared_size(str(tmp_path / "image")) == (30, 20)
    PillowImage.new("RGB", (7, 9)).save(tmp_path / "rgb.tif")
    assert declared_size(str(tmp_path / "rgb.tif")) == (9, 7)
