"""Images are decoded once, whole, in the right orientation and colours."""

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from supcon.errors import UserError
from supcon.images.cache import decode, open_cache
from supcon.images.geometry import fit_square, shrink
from supcon.images.hashes import content_hashes, images_digest

DRAW = np.random.default_rng(0)


def gradient(height: int, width: int) -> np.ndarray:
    """A smooth image that any codec keeps roughly."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)


def test_the_cache_returns_what_was_decoded_in_the_order_asked(tmp_path: Path) -> None:
    names = [f"{number}.png" for number in range(300)]  # more than are decoded ahead
    pixels = [DRAW.integers(0, 256, (5 + number % 7, 6, 3)).astype(np.uint8) for number in range(300)]
    for name, image in zip(names, pixels, strict=True):
        cv2.imwrite(str(tmp_path / name), image[..., ::-1])
    cache = open_cache(tmp_path / "cache", tmp_path, names[::-1], "x", 32, "crop")
    assert len(cache) == 300
    for position, image in enumerate(reversed(pixels)):
        np.testing.assert_array_equal(cache[position], image)
    with pytest.raises(ValueError, match="read-only"):
        cache[0][0, 0, 0] = 1


def test_large_images_are_kept_at_the_size_that_training_needs(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), gradient(400, 800))
    assert open_cache(tmp_path / "c", tmp_path, ["a.png"], "x", 100, "crop")[0].shape == (115, 230, 3)
    assert open_cache(tmp_path / "c", tmp_path, ["a.png"], "x", 100, "pad")[0].shape == (57, 115, 3)
    assert open_cache(tmp_path / "c", tmp_path, ["a.png"], "x", 100, "squash")[0].shape == (115, 115, 3)
    assert shrink(gradient(20, 30), 100, "crop").shape == (20, 30, 3)


def test_exif_orientation_is_applied(tmp_path: Path) -> None:
    turned = Image.fromarray(gradient(40, 20)).rotate(90, expand=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 270 degrees
    turned.save(tmp_path / "a.jpg", exif=exif, quality=95)
    image = decode(tmp_path / "a.jpg")
    assert image.shape == (40, 20, 3)
    assert np.abs(image.astype(int) - gradient(40, 20)).mean() < 8


@pytest.mark.parametrize(
    ("mode", "name"),
    [("L", "a.png"), ("P", "a.gif"), ("CMYK", "a.jpg"), ("RGB", "a.bmp"), ("RGB", "a.webp"), ("RGB", "a.tiff")],
)
def test_formats_and_modes_become_rgb(tmp_path: Path, mode: str, name: str) -> None:
    Image.fromarray(gradient(32, 32)).convert(mode).save(tmp_path / name)
    image = decode(tmp_path / name)
    assert image.shape == (32, 32, 3)
    if mode != "L":
        assert np.abs(image.astype(int) - gradient(32, 32)).mean() < 25


def test_transparency_lies_on_white_and_sixteen_bits_become_eight(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4, 4), np.uint8)).save(tmp_path / "clear.png")
    assert decode(tmp_path / "clear.png").min() == 255
    cv2.imwrite(str(tmp_path / "deep.png"), np.full((4, 4), 32896, np.uint16))
    assert set(decode(tmp_path / "deep.png").ravel()) == {128}


@pytest.mark.parametrize("content", [b"", b"no image", "truncated"])
def test_damaged_files_are_refused_by_name(tmp_path: Path, content: bytes | str) -> None:
    if content == "truncated":
        buffer = io.BytesIO()
        Image.fromarray(DRAW.integers(0, 256, (64, 64, 3)).astype(np.uint8)).save(buffer, "JPEG")
        content = buffer.getvalue()[:1500]
    assert isinstance(content, bytes)
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(UserError, match=r"bad\.jpg is not a readable image"):
        decode(tmp_path / "bad.jpg")
    with pytest.raises(UserError, match=r"bad\.jpg"):
        open_cache(tmp_path / "cache", tmp_path, ["bad.jpg"], "x", 32, "crop")
    assert not list((tmp_path / "cache").iterdir())


@pytest.mark.parametrize(("fit", "shape"), [("crop", (40, 60)), ("pad", (40, 60)), ("squash", (60, 40))])
def test_every_fit_makes_a_square(fit: str, shape: tuple[int, int]) -> None:
    image = np.full((*shape, 3), 200, np.uint8)
    square = fit_square(image, 50, fit)  # type: ignore[arg-type]
    assert square.shape == (50, 50, 3)
    assert (square == 0).any() == (fit == "pad")


def test_a_changed_file_changes_the_digest_and_an_unchanged_one_is_not_read_again(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(name.encode())
    first = content_hashes(tmp_path / "cache", tmp_path, ["a", "b"])
    stamp = (tmp_path / "cache" / "hashes.csv").stat().st_mtime_ns
    assert content_hashes(tmp_path / "cache", tmp_path, ["a", "b"]) == first
    assert (tmp_path / "cache" / "hashes.csv").stat().st_mtime_ns == stamp
    (tmp_path / "b").write_bytes(b"changed")
    second = content_hashes(tmp_path / "cache", tmp_path, ["a", "b"])
    assert second[0] == first[0]
    assert images_digest(["a", "b"], second) != images_digest(["a", "b"], first)
