"""What a file is is told by its content: every format that Pillow reads comes out, and what is not read has a name."""

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image as PillowImage
from PIL import features

from supcon.images.decode import read_image
from supcon.images.formats import unread
from supcon.images.geometry import FORMATS, Unreadable
from tests.images.make import png, smooth

GREY = smooth(24, 20)[..., 0]
LOSSLESS = {"PPM", "DDS", "QOI", "PCX", "SGI", "TGA"}  # and those that Pillow cannot write


def written(kind: str, image: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    PillowImage.fromarray(image).save(out, kind, **options)
    return out.getvalue()


FILES = {
    "PPM": written("PPM", smooth(24, 20)),
    "PPM grey": written("PPM", GREY),
    "PPM plain": b"P3\n# by hand\n1 1\n255\n10 20 30\n",
    "PPM bits": b"P4 # by hand\n8 1\n\xaa",
    "PPM float": b"Pf\n2 1\n-1.0\n" + np.array([0.5, 1.0], "<f4").tobytes(),
    "AVIF": written("AVIF", smooth(24, 20), quality=95),
    "JPEG2000": written("JPEG2000", smooth(24, 20)),
    "JPEG2000 alone": written("JPEG2000", smooth(24, 20), no_jp2=True),
    "TGA": written("TGA", smooth(24, 20)),
    "TGA packed": written("TGA", smooth(24, 20), compression="tga_rle"),
    "ICO": written("ICO", smooth(24, 20)),
    "DDS": written("DDS", smooth(24, 20)),
    "QOI": written("QOI", smooth(24, 20)),
    "PCX": written("PCX", smooth(24, 20)),
    "SGI": written("SGI", smooth(24, 20)),
    "SUN": struct.pack(">8I", 0x59A66A95, 1, 1, 24, 3, 1, 0, 0) + b"\3\2\1\0",
}


@pytest.mark.parametrize("name", FILES)
def test_every_format_is_read_whatever_the_suffix(tmp_path: Path, name: str) -> None:
    kind = name.split()[0]
    for suffix in (".tga",) if kind == "TGA" else (".png", ".jpg", ""):
        path = tmp_path / f"image{suffix}"
        path.write_bytes(FILES[name])
        decoded = read_image(str(path))
        assert decoded.kind == kind
        assert kind in FORMATS
        if kind in LOSSLESS and name in (kind, "TGA packed"):
            np.testing.assert_array_equal(decoded.image, smooth(24, 20))
        elif kind in ("AVIF", "JPEG2000"):
            assert np.abs(decoded.image.astype(int) - smooth(24, 20)).mean() < 4
    assert decoded.image.shape[2] == 3


def test_hand_made_ones_have_the_colours_written_down(tmp_path: Path) -> None:
    colours = {"PPM plain": [[[10, 20, 30]]], "SUN": [[[1, 2, 3]]], "PPM float": [[[127] * 3, [255] * 3]]}
    for name, expected in colours.items():
        (tmp_path / "image").write_bytes(FILES[name])
        assert read_image(str(tmp_path / "image")).image.tolist() == expected


@pytest.mark.parametrize("name", ["PPM", "AVIF", "JPEG2000", "JPEG2000 alone", "DDS", "PCX", "SGI"])
def test_a_file_cut_anywhere_is_never_taken_for_whole(tmp_path: Path, name: str) -> None:
    data = FILES[name]
    for length in {*range(0, len(data), max(1, len(data) // 60)), *range(150, 260), len(data) - 1}:
        (tmp_path / "image").write_bytes(data[: min(length, len(data) - 1)])
        with pytest.raises(Unreadable):
            read_image(str(tmp_path / "image"))


NAMED = {
    "HEIC: convert it to JPEG": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500),
    "HEIC": b"\0\0\0\x1cftypmif1\0\0\0\0mif1heixmiaf" + bytes(500),
    "a film": b"\0\0\0\x18ftypisom\0\0\2\0isommp42" + bytes(500),
    "a film: write the frames": b"RIFF\0\0\0\0AVI LIST",
    "DICOM": bytes(128) + b"DICM" + bytes(300),
    "NIfTI": struct.pack("<i", 348) + bytes(340) + b"n+1\0" + bytes(100),
    "a NumPy array": b"\x93NUMPY\x01\0v\0{'descr'",
    "HDF5": b"\x89HDF\r\n\x1a\n",
    "PSD": b"8BPS\0\1",
    "SVG: draw it as PNG": b"<?xml version='1.0'?>\n<svg xmlns='http://www.w3.org/2000/svg'/>",
    "SVG": b"\xef\xbb\xbf<svg/>",
    "JPEG XL": b"\xff\n\0\0",
    "a web page": b"<!doctype html><html>",
    "an archive": b"PK\3\4\0\0",
    "FITS": b"SIMPLE  =                    T",
    "a picture of high dynamic range": b"v/1\1\2\0\0\0",
    "a PDF": b"%PDF-1.7",
}


@pytest.mark.parametrize("name", NAMED)
def test_what_is_not_read_is_named_with_a_cure(tmp_path: Path, name: str) -> None:
    for suffix in (".jpg", ".tga"):
        (tmp_path / f"image{suffix}").write_bytes(NAMED[name])
        with pytest.raises(Unreadable, match=f"^not an image that is read here, but {name}"):
            read_image(str(tmp_path / f"image{suffix}"))


def test_an_avif_of_the_general_brand_is_read_as_one(tmp_path: Path) -> None:
    data = FILES["AVIF"].replace(b"ftypavif", b"ftypmif1", 1)
    (tmp_path / "image").write_bytes(data)
    assert read_image(str(tmp_path / "image")).kind == "AVIF"


def test_text_is_no_tga_for_its_name_alone(tmp_path: Path) -> None:
    (tmp_path / "image.tga").write_bytes(b"not found\n" * 50)
    with pytest.raises(Unreadable):
        read_image(str(tmp_path / "image.tga"))


def test_a_format_that_this_pillow_was_built_without_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "image").write_bytes(FILES["AVIF"])
    monkeypatch.setattr("PIL.AvifImagePlugin.SUPPORTED", False)
    monkeypatch.setattr(features, "check", lambda _: False)
    with pytest.raises(Unreadable, match="^AVIF, which this Pillow was built without: pip install --upgrade pillow$"):
        read_image(str(tmp_path / "image"))


def test_a_bomb_within_an_icon_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", lambda *_: pytest.fail("the bomb was decoded"))
    inner = png(np.zeros((1, 1), np.uint8), 8, 0, width=60_000).replace(struct.pack(">I", 1), struct.pack(">I", 60_000))
    (tmp_path / "image").write_bytes(struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, len(inner), 22) + inner)
    with pytest.raises(Unreadable, match="60000 x 60000 pixels, over the limit"):
        read_image(str(tmp_path / "image"))


def test_files_of_other_forms_are_counted_by_form() -> None:
    names = ["a.dcm", "b.DCM", "scan.nii.gz", "notes.txt", "img.png", ".hidden.dcm"]
    assert unread(names) == ("2 files of DICOM (such as a.dcm), 1 file of NIfTI (such as scan.nii.gz)")
    assert unread(["train.csv", "readme.md"]) == ""
