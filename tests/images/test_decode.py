"""Every kind of image file comes out in its true colours, upright; a damaged one comes out with a reason."""

import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage

from supcon.errors import UserError
from supcon.images.decode import decode, read_image
from supcon.images.geometry import Unreadable
from supcon.images.reading import Reading
from tests.images.make import by_cv2, huge, interlaced_png, noise, png, saved, smooth

RGB, GREY, ALPHA = noise(12, 10), noise(12, 10, 1)[..., 0], noise(12, 10, 4)
DEEP = np.random.default_rng(1).integers(0, 65536, (12, 10, 3)).astype(np.uint16)
PALETTE = noise(1, 16)[0]
PLACES = np.random.default_rng(2).integers(0, 16, (12, 10)).astype(np.uint8)
BITS = np.random.default_rng(3).integers(0, 2, (12, 10)).astype(np.uint8)
PLTE = (b"PLTE", PALETTE.tobytes())


def decoded(folder: Path, data: bytes) -> np.ndarray:
    (folder / "image").write_bytes(data)
    return decode(folder / "image").astype(int)


def grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(values[..., None], 3, axis=2)


def on_white(rgba: np.ndarray) -> np.ndarray:
    share = rgba[..., 3:] / 255
    return np.rint(rgba[..., :3] * share + 255 * (1 - share))


EXACT = {
    "RGB PNG": (saved(RGB, "PNG"), RGB),
    "interlaced PNG": (interlaced_png(RGB), RGB),
    "grey PNG": (saved(GREY, "PNG"), grey(GREY)),
    "PNG with alpha": (saved(ALPHA, "PNG"), on_white(ALPHA)),
    "grey PNG with alpha": (
        png(ALPHA[..., 2:], 8, 4),
        on_white(np.concatenate([grey(ALPHA[..., 2]), ALPHA[..., 3:]], axis=2)),
    ),
    "palette PNG": (png(PLACES, 8, 3, PLTE), PALETTE[PLACES]),
    "palette PNG with transparency": (
        png(PLACES, 8, 3, PLTE, (b"tRNS", bytes([0, 128]))),
        on_white(np.concatenate([PALETTE, [[0], [128], *[[255]] * 14]], axis=1)[PLACES]),
    ),
    "RGB PNG with a transparent colour": (
        png(PALETTE[PLACES], 8, 2, (b"tRNS", PALETTE[3].astype(">u2").tobytes())),
        np.where((PLACES == 3)[..., None], 255, PALETTE[PLACES]),
    ),
    "grey PNG with a transparent value": (
        png(PLACES, 8, 0, (b"tRNS", b"\0\5")),
        grey(np.where(PLACES == 5, 255, PLACES)),
    ),
    "1-bit PNG": (png(np.packbits(BITS, axis=1), 1, 0, width=10), grey(BITS * 255)),
    "1-bit PNG with a transparent value": (
        png(np.packbits(BITS, axis=1), 1, 0, (b"tRNS", b"\0\0"), width=10),
        grey(BITS * 0 + 255),
    ),
    "16-bit grey PNG": (by_cv2(DEEP[..., 0], ".png"), grey(DEEP[..., 0] / 257)),
    "dark 16-bit grey PNG": (by_cv2(DEEP[..., 0] % 256, ".png"), grey(DEEP[..., 0] * 0)),
    "16-bit RGB PNG": (by_cv2(DEEP, ".png"), DEEP / 257),
    "16-bit grey PNG with a transparent value": (
        png(DEEP[..., 0].astype(">u2"), 16, 0, (b"tRNS", DEEP[0, 0, :1].astype(">u2").tobytes())),
        grey(np.where(DEEP[..., 0] == DEEP[0, 0, 0], 255, DEEP[..., 0] / 257)),
    ),
    "BMP": (saved(RGB, "BMP"), RGB),
    "palette BMP": (saved(GREY, "BMP"), grey(GREY)),
    "1-bit BMP": (saved(PillowImage.fromarray(BITS * 255).convert("1"), "BMP"), grey(BITS * 255)),
    "TIFF": (saved(RGB, "TIFF"), RGB),
    "LZW TIFF": (saved(RGB, "TIFF", compression="tiff_lzw"), RGB),
    "TIFF with alpha": (saved(ALPHA, "TIFF"), on_white(ALPHA)),
    "16-bit grey TIFF": (by_cv2(DEEP[..., 0], ".tiff"), grey(DEEP[..., 0] / 257)),
    "big-endian 16-bit TIFF": (
        saved(PillowImage.frombytes("I;16B", (10, 12), DEEP[..., 0].astype(">u2").tobytes()), "TIFF"),
        grey(DEEP[..., 0] / 257),
    ),
    "16-bit RGB TIFF": (by_cv2(DEEP, ".tiff"), DEEP / 257),
    "32-bit TIFF of small numbers": (saved(GREY.astype(np.int32), "TIFF"), grey(GREY)),
    "float TIFF up to 1": (saved((GREY / 255).astype(np.float32), "TIFF"), grey(GREY)),
    "CMYK TIFF": (
        saved(PillowImage.fromarray(ALPHA, "CMYK"), "TIFF"),
        (255.0 - ALPHA[..., :3]) * (255.0 - ALPHA[..., 3:]) / 255,
    ),
    "TIFF of pages": (saved(RGB, "TIFF", save_all=True, append_images=[PillowImage.fromarray(255 - RGB)]), RGB),
    "GIF": (saved(GREY, "GIF"), grey(GREY)),
    "GIF of frames": (saved(GREY, "GIF", save_all=True, append_images=[PillowImage.fromarray(255 - GREY)]), grey(GREY)),
    "GIF with a transparent colour": (
        saved(PLACES, "GIF", transparency=5, optimize=False),
        grey(np.where(PLACES == 5, 255, PLACES)),
    ),
    "lossless WebP": (saved(RGB, "WEBP", lossless=True), RGB),
    "lossless WebP with alpha": (saved(ALPHA, "WEBP", lossless=True, exact=True), on_white(ALPHA)),
}


@pytest.mark.parametrize("name", EXACT)
def test_lossless_files_come_out_pixel_by_pixel(tmp_path: Path, name: str) -> None:
    data, truth = EXACT[name]
    image = decoded(tmp_path, data)
    assert image.shape == truth.shape
    assert np.abs(image - truth).max() <= 1  # rounding of 16 bits and of transparency


JPEGS: dict[str, dict[str, object]] = {
    "plain": {},
    "progressive": {"progressive": True},
    "without subsampling": {"subsampling": 0},
    "stored as RGB": {"keep_rgb": True},
    "with restarts": {"restart_marker_rows": 1},
    "with a comment that holds an end mark": {"comment": b"\xff\xd9"},
}


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("name", JPEGS)
def test_jpegs_keep_their_colours(tmp_path: Path, name: str, mode: str) -> None:
    if mode != "RGB" and name == "stored as RGB":
        pytest.skip("for colour alone")
    source = PillowImage.fromarray(smooth(64, 48)).convert(mode)
    truth = np.asarray(source.convert("RGB")).astype(int)
    image = decoded(tmp_path, saved(source, "JPEG", quality=95, **JPEGS[name]))
    assert np.abs(image - truth).mean() < 4


def test_cmyk_jpegs_have_adobes_inversion_with_and_without_its_mark(tmp_path: Path) -> None:
    source = PillowImage.fromarray(smooth(64, 48)).convert("CMYK")
    data = saved(source, "JPEG", quality=95)
    place = data.index(b"\xff\xee")
    unmarked = data[:place] + data[place + 2 + struct.unpack_from(">H", data, place + 2)[0] :]
    for content in (data, unmarked):
        assert np.abs(decoded(tmp_path, content) - smooth(64, 48)).mean() < 4


def test_lossy_webp_and_jpeg_within_tiff_keep_their_colours(tmp_path: Path) -> None:
    for data in (saved(smooth(64, 48), "WEBP"), saved(smooth(64, 48), "TIFF", compression="jpeg")):
        assert np.abs(decoded(tmp_path, data) - smooth(64, 48)).mean() < 4


@pytest.mark.parametrize("orientation", range(10))  # 0 and 9 mean nothing
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_every_exif_orientation_is_applied(tmp_path: Path, kind: str, orientation: int) -> None:
    turns = {2: (0, True), 3: (2, False), 4: (2, True), 5: (3, True), 6: (3, False), 7: (1, True), 8: (1, False)}
    quarter, mirrored = turns.get(orientation, (0, False))
    stored = smooth(40, 24)
    truth = np.rot90(stored, quarter)
    truth = truth[:, ::-1] if mirrored else truth
    exif = PillowImage.Exif()
    exif[0x0112] = orientation
    image = decoded(tmp_path, saved(stored, kind, exif=exif, quality=95))
    assert image.shape == truth.shape
    assert np.abs(image - truth).mean() < 8


def test_damaged_exif_leaves_the_pixels(tmp_path: Path) -> None:
    for kind in ("JPEG", "PNG", "WEBP"):
        image = decoded(tmp_path, saved(smooth(40, 24), kind, exif=b"Exif\0\0II*\0\xff\xff\xff\xff rubbish"))
        assert np.abs(image - smooth(40, 24)).mean() < 8


WHOLE = {
    "JPEG": saved(noise(24, 20), "JPEG"),
    "JPEG with a thumbnail": saved(noise(24, 20), "JPEG", exif=b"Exif\0\0" + saved(noise(8, 8), "JPEG")),
    "progressive JPEG": saved(noise(24, 20), "JPEG", progressive=True),
    "CMYK JPEG": saved(PillowImage.fromarray(noise(24, 20, 4), "CMYK"), "JPEG"),
    "PNG": saved(noise(24, 20), "PNG"),
    "palette PNG": png(PLACES, 8, 3, PLTE),
    "16-bit PNG": by_cv2(DEEP, ".png"),
    "WEBP": saved(noise(24, 20), "WEBP"),
    "lossless WEBP": saved(noise(24, 20, 4), "WEBP", lossless=True),
    "BMP": saved(noise(24, 20), "BMP"),
    "TIFF": saved(noise(24, 20), "TIFF"),
    "LZW TIFF": saved(noise(24, 20), "TIFF", compression="tiff_lzw"),
    "16-bit TIFF": by_cv2(DEEP, ".tiff"),
    "GIF": saved(GREY, "GIF"),
    "GIF of frames": saved(GREY, "GIF", save_all=True, append_images=[PillowImage.fromarray(255 - GREY)]),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_file_cut_anywhere_is_never_taken_for_whole(tmp_path: Path, name: str) -> None:
    data, path = WHOLE[name], tmp_path / "image"
    path.write_bytes(data + b"appended by a camera")
    read_image(str(path))
    for length in {*range(0, len(data), max(1, len(data) // 80)), *range(len(data) - 24, len(data))}:
        path.write_bytes(data[:length])
        with pytest.raises(Unreadable):
            read_image(str(path))


@pytest.mark.parametrize("name", WHOLE)
def test_flipped_and_lost_bytes_give_an_image_or_a_reason_and_nothing_else(tmp_path: Path, name: str) -> None:
    draw, path, reasons = np.random.default_rng(0), tmp_path / "image", list[str]()
    for trial in range(80):
        data = bytearray(WHOLE[name])
        place = int(draw.integers(len(data)) if trial % 3 else draw.integers(min(100, len(data))))
        if trial % 2:
            data[place] ^= 1 << int(draw.integers(8))
        else:
            del data[place : place + int(draw.integers(1, 20))]
        path.write_bytes(data)
        try:
            image, *_ = read_image(str(path))
            assert image.dtype == np.uint8
            assert image.shape[2:] == (3,)
        except Unreadable as error:
            reasons.append(str(error))
    assert not any("\n" in reason or str(path) in reason for reason in reasons)
    assert len(reasons) == 80 or "PNG" not in name  # a PNG has checksums


@pytest.mark.parametrize("kind", sorted(huge()))
def test_a_decompression_bomb_is_refused_by_its_declared_size(
    tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def decodes(*_: object) -> None:
        raise AssertionError("the bomb was decoded")

    monkeypatch.setattr("cv2.imdecode", decodes)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", decodes)
    (tmp_path / "bomb").write_bytes(huge()[kind])
    with pytest.raises(Unreadable, match="over the limit of 178,000,000"):
        read_image(str(tmp_path / "bomb"))


def test_an_image_just_over_the_limit_is_refused_and_the_setting_named_that_raises_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        PillowImage, "MAX_IMAGE_PIXELS", PillowImage.MAX_IMAGE_PIXELS
    )  # other tests read by Pillow, too
    for name in ("JPEG", "PNG", "WEBP", "BMP", "TIFF"):
        (tmp_path / "image").write_bytes(WHOLE[name])
        with pytest.raises(Unreadable, match="20 x 24 pixels, over the limit of 479, which --data.pixel_limit raises"):
            read_image(str(tmp_path / "image"), Reading(pixel_limit=24 * 20 - 1))
        assert read_image(str(tmp_path / "image"), Reading(pixel_limit=24 * 20)).image.shape == (24, 20, 3)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty file"),
        (b"<html>404</html>", "not an image"),
        (WHOLE["JPEG"][:300], "truncated"),
        (WHOLE["PNG"][:300], "truncated"),
        (WHOLE["PNG"][:-20] + b"xx" + WHOLE["PNG"][-18:], "damaged: a checksum is wrong"),
    ],
)
def test_the_reason_is_named_with_the_file_and_the_cure(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "bad.jpg").write_bytes(content)
    with pytest.raises(UserError, match=rf"bad\.jpg is not a readable image \({reason}.*replace it"):
        decode(tmp_path / "bad.jpg")


def test_an_absent_file_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gone\.jpg cannot be read: No such file"):
        decode(tmp_path / "gone.jpg")
