"""Numbers beyond 8 bits become useful pixels: by their format, by what the training images hold, or by two numbers."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from supcon.errors import UserError
from supcon.images import value_range
from supcon.images.cache import ImageCache, open_cache
from supcon.images.decode import read_image
from supcon.images.hashes import content_hashes
from supcon.images.notes import image_notes
from supcon.images.reading import DEFAULT, Reading, fixed_reading
from supcon.images.value_range import reading_of
from supcon.settings.check import check
from supcon.settings.settings import DataSettings, Settings
from tests.images.make import by_cv2, noise, saved
from tests.images.tiffs import tiff

DRAW = np.random.default_rng(5)
DECIBEL = (DRAW.random((9, 8, 1)) * 35 - 35).astype(np.float32)
TWELVE = DRAW.integers(0, 4096, (9, 8, 3)).astype(np.uint16)


def image(folder: Path, data: bytes, reading: Reading) -> np.ndarray:
    (folder / "image").write_bytes(data)
    return read_image(str(folder / "image"), reading).image


def stretched(values: np.ndarray, low: float, high: float) -> np.ndarray:
    share = np.clip((values.astype(np.float64) - low) / (high - low), 0, 1)
    return np.rint(share * 255)


def rgb(values: np.ndarray) -> np.ndarray:
    return np.repeat(values, 3, axis=2) if values.shape[2] == 1 else values


FILES: dict[str, tuple[bytes, np.ndarray]] = {
    "12 bits in a grey TIFF": (saved(TWELVE[..., 0], "TIFF"), TWELVE[..., :1]),
    "12 bits in a grey PNG": (by_cv2(TWELVE[..., 0], ".png"), TWELVE[..., :1]),
    "12 bits in a colour PNG": (by_cv2(TWELVE, ".png"), TWELVE),
    "12 bits in a colour TIFF": (by_cv2(TWELVE, ".tiff"), TWELVE),
    "12 bits in a grey JPEG 2000": (saved(TWELVE[..., 0], "JPEG2000"), TWELVE[..., :1]),
    "12 bits in a colour PPM": (by_cv2(TWELVE, ".ppm"), TWELVE),
    "12 bits in five bands": (tiff(np.concatenate([TWELVE] * 2, axis=2)[..., :5]), TWELVE),
    "decibel in a TIFF": (saved(DECIBEL[..., 0], "TIFF"), DECIBEL),
    "decibel in 64 bits": (tiff(DECIBEL.astype(np.float64)), DECIBEL),
    "decibel in four bands": (tiff(np.repeat(DECIBEL, 4, axis=2)), DECIBEL),
    "Hounsfield units": (tiff(TWELVE[..., :1].astype(np.int16) - 1000), TWELVE[..., :1].astype(int) - 1000),
    "a dark photograph": (saved((TWELVE >> 6).astype(np.uint8), "PNG"), TWELVE >> 6),
    "a dark palette": (
        saved(PillowImage.fromarray((TWELVE[..., 0] >> 6).astype(np.uint8)), "GIF"),
        TWELVE[..., :1] >> 6,
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_numbers_between_low_and_high_become_black_to_white(tmp_path: Path, name: str) -> None:
    data, values = FILES[name]
    for low, high in ((float(values.min()), float(values.max())), (float(values.mean()), float(values.max()) + 100)):
        expected = rgb(stretched(values, low, high))
        assert np.abs(image(tmp_path, data, Reading(low, high)) - expected).max() <= 1


def test_what_is_no_number_is_black_and_infinite_ones_are_an_end(tmp_path: Path) -> None:
    values = np.array([[np.nan, -np.inf, -20.0, np.inf, 0.5]], np.float32)
    data = saved(values, "TIFF")
    assert image(tmp_path, data, Reading(-40, 0))[0, :, 0].tolist() == [0, 0, 128, 255, 255]
    assert image(tmp_path, data, DEFAULT)[0, :, 0].tolist() == [0, 0, 0, 255, 127]


def test_the_default_reading_is_by_the_format_alone(tmp_path: Path) -> None:
    np.testing.assert_array_equal(image(tmp_path, FILES["12 bits in a colour PNG"][0], DEFAULT), TWELVE >> 8)
    np.testing.assert_array_equal(image(tmp_path, saved(noise(5, 4), "PNG"), DEFAULT).shape, (5, 4, 3))


def test_bands_of_any_format_can_be_chosen(tmp_path: Path) -> None:
    colours, four = noise(6, 5), noise(6, 5, 4)
    reading = Reading(bands=(3, 2, 1))
    np.testing.assert_array_equal(image(tmp_path, saved(colours, "PNG"), reading), colours[..., ::-1])
    np.testing.assert_array_equal(image(tmp_path, saved(four, "PNG"), Reading(bands=(4, 3, 2))), four[..., [3, 2, 1]])
    np.testing.assert_array_equal(image(tmp_path, by_cv2(TWELVE, ".png"), reading), TWELVE[..., ::-1] >> 8)


def test_an_upright_picture_stays_upright_when_its_numbers_are_stretched(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    data = saved(PillowImage.fromarray(TWELVE[..., 0]), "PNG", exif=exif)
    expected = rgb(np.rot90(stretched(TWELVE[..., :1], 0, 4095), 3))
    np.testing.assert_array_equal(image(tmp_path, data, Reading(0, 4095)), expected)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"pixel_range": "auto"}, "--data.pixel_range 'auto' is neither format, data nor two numbers LOW,HIGH"),
        ({"pixel_range": "5,5"}, "the smaller one first"),
        ({"pixel_range": "0,-35"}, "the smaller one first"),
        ({"pixel_range": "1,2,3"}, "two numbers"),
        ({"pixel_range": "nan,1"}, "two numbers"),
        ({"pixel_range": "-inf,1"}, "two numbers"),
        ({"bands": "4,3"}, "--data.bands '4,3' is neither one band nor three, counted from 1"),
        ({"bands": "0,1,2"}, "counted from 1"),
        ({"bands": "red"}, "neither one band nor three"),
        ({"bands": "1,,2"}, "neither one band nor three"),
    ],
)
def test_a_range_or_bands_that_cannot_be_are_refused_before_anything_is_read(
    wrong: dict[str, str], reason: str
) -> None:
    with pytest.raises(UserError, match=reason):
        check(Settings(data=DataSettings(**wrong)))  # type: ignore[arg-type]


def write(folder: Path, images: Sequence[bytes]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{number:03d}.tif" for number in range(len(images))]
    for file, data in zip(files, images, strict=True):
        file.write_bytes(data)
    return files


def found(folder: Path, files: Sequence[Path], rows: int | None = None, **data: object) -> Reading:
    settings = DataSettings(pixel_range="data", **data)  # type: ignore[arg-type]
    hashes = content_hashes(folder / "cache", files)
    return reading_of(settings, folder / "cache", files, hashes, len(files) if rows is None else rows)


def decibel(count: int) -> list[bytes]:
    return [saved((DRAW.random((30, 30)) * 35 - 35).astype(np.float32), "TIFF") for _ in range(count)]


def test_the_range_of_the_data_is_that_of_nearly_all_numbers_in_the_training_images(tmp_path: Path) -> None:
    outlier = np.full((30, 30), -20, np.float32)
    outlier[0, 0] = 1e9
    files = write(tmp_path / "in", [*decibel(20), saved(outlier, "TIFF"), saved(outlier * 1000, "TIFF")])
    reading = found(tmp_path, files, rows=21)  # the last one is a test image
    assert -35 < reading.low < -34.5
    assert -0.5 < reading.high < 0
    assert fixed_reading(DataSettings(pixel_range="data")) == DEFAULT  # by itself the setting says nothing


def test_the_range_depends_on_the_images_alone_and_not_on_their_order(tmp_path: Path) -> None:
    files = write(tmp_path / "in", decibel(20))
    first = found(tmp_path, files)
    assert found(tmp_path, files[::-1]) == first
    (folder,) = (tmp_path / "cache").glob("pixel-range-*.json")
    folder.unlink()
    assert found(tmp_path, files) == first
    folder.write_text('{"low": "x"')
    assert found(tmp_path, files) == first


def test_the_range_is_found_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = write(tmp_path / "in", decibel(5))
    first = found(tmp_path, files)
    monkeypatch.setattr(value_range, "read_values", lambda *_: pytest.fail("read again"))
    assert found(tmp_path, files) == first


def test_images_that_cannot_be_read_or_hold_no_numbers_leave_the_range_alone(tmp_path: Path) -> None:
    nothing = saved(np.full((9, 9), np.nan, np.float32), "TIFF")
    files = write(tmp_path / "in", [b"no image", nothing, saved(TWELVE[..., 0], "TIFF")])
    reading = found(tmp_path, files)
    assert 0 <= reading.low < reading.high <= 4095


def test_images_of_one_number_have_no_range(tmp_path: Path) -> None:
    files = write(tmp_path / "in", [saved(np.full((9, 9), -7, np.float32), "TIFF")] * 3)
    with pytest.raises(UserError, match="data.pixel_range data: the training images hold nothing but -7: choose"):
        found(tmp_path, files)


def test_numbers_that_are_nearly_all_equal_are_stretched_to_their_ends(tmp_path: Path) -> None:
    values = np.zeros((100, 100), np.float32)
    values[0, :3] = [1, 2, 3]
    reading = found(tmp_path, write(tmp_path / "in", [saved(values, "TIFF")]))
    assert (reading.low, reading.high) == (0, 3)


def opened(folder: Path, images: Sequence[bytes], reading: Reading = DEFAULT) -> ImageCache:
    files = write(folder / "in", images)
    return open_cache(folder / "cache", files, content_hashes(folder / "cache", files), 32, "crop", reading)


def test_a_cache_belongs_to_one_reading(tmp_path: Path) -> None:
    data = [FILES["decibel in a TIFF"][0]]
    readings = [DEFAULT, Reading(-35, 0), Reading(-35, 1), Reading(bands=(1,)), Reading(pixel_limit=1000)]
    caches = [opened(tmp_path, data, reading) for reading in readings]
    assert len({cache.key for cache in caches}) == len(readings)
    assert [int(cache[0].max()) > 0 for cache in caches] == [False, True, True, False, False]


def test_ordinary_images_have_no_note(tmp_path: Path) -> None:
    drawing = np.full((36, 36, 3), 255, np.uint8)
    drawing[18, 18] = 0  # less than a thousandth of the pixels
    for images in ([saved(noise(9, 9), "PNG")] * 3, [saved(drawing, "PNG")]):
        assert image_notes(opened(tmp_path / str(len(images)), images), DEFAULT, 2) == []


def test_pixels_that_use_little_of_the_range_are_told_with_the_setting_that_stretches_them(tmp_path: Path) -> None:
    (line,) = image_notes(opened(tmp_path, [FILES["12 bits in a grey TIFF"][0], saved(noise(9, 9), "PNG")]), DEFAULT, 2)
    assert line.startswith(
        "in 1 image (TIFF) pixels use the grey levels 1 to 15 of 255, 5 % of the range: try --data.pixel_range"
    )
    reading = Reading(0, 4095)
    assert image_notes(opened(tmp_path, [FILES["12 bits in a grey TIFF"][0]], reading), reading, 1) == []


def test_test_images_of_another_depth_than_the_training_images_are_told(tmp_path: Path) -> None:
    full, dark = (np.dstack([TWELVE[..., 0] * scale]) for scale in (16, 1))
    images = [saved(values[..., 0].astype(np.uint16), "TIFF") for values in (full, full, dark)]
    (line,) = image_notes(opened(tmp_path, images), DEFAULT, 2)
    assert line.startswith("in 1 image (TIFF) pixels use the grey levels 1 to 15")


def test_images_that_are_all_black_are_told(tmp_path: Path) -> None:
    (line,) = image_notes(opened(tmp_path, [FILES["decibel in a TIFF"][0]] * 2), DEFAULT, 1)
    assert line.startswith("in 2 images (TIFF) all pixels are alike, 0 of 255")


def test_bands_that_are_left_out_are_told_unless_they_were_chosen(tmp_path: Path) -> None:
    values = DRAW.integers(0, 65536, (9, 8, 5)).astype(np.uint16)
    images = opened(tmp_path, [tiff(values), cv2.imencode(".png", noise(4, 4))[1].tobytes()])
    assert image_notes(images, DEFAULT, 1) == [
        "of the 5 bands in 1 image the first three are used: --data.bands 4,3,2 chooses others"
    ]
    assert image_notes(images, Reading(bands=(4, 3, 2)), 1) == []
    (line,) = image_notes(opened(tmp_path / "two", [tiff(values[..., :2])]), DEFAULT, 1)
    assert "of the 2 bands in 1 image the first is used: --data.bands 1,2,2" in line
