"""Image files whose every pixel is known, written by hand where no library writes that kind."""

import io
import struct
import zlib
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image as PillowImage

PNG_START = b"\x89PNG\r\n\x1a\n"
DRAW = np.random.default_rng(0)


def noise(height: int, width: int, channels: int = 3) -> np.ndarray:
    return DRAW.integers(0, 256, (height, width, channels)).astype(np.uint8)


def smooth(height: int, width: int) -> np.ndarray:
    """A colour gradient that any codec keeps roughly."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([red, green, 255 - red], axis=-1).astype(np.uint8)


def saved(image: PillowImage.Image | np.ndarray, kind: str, **options: object) -> bytes:
    """The bytes that Pillow writes."""
    if isinstance(image, np.ndarray):
        image = PillowImage.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def by_cv2(image: np.ndarray, suffix: str) -> bytes:
    """The bytes that cv2 writes: 16 bits stay 16; colour is given as RGB."""
    bgr = image[..., ::-1] if image.ndim == 3 else image
    return cv2.imencode(suffix, np.ascontiguousarray(bgr))[1].tobytes()


def png(rows: np.ndarray, depth: int, colours: int, *chunks: tuple[bytes, bytes], width: int | None = None) -> bytes:
    """A PNG of rows that are packed already, [height, bytes] or any [height, ...] big-endian; with further chunks."""
    header = png_header(rows.shape[1] if width is None else width, len(rows), depth, colours)
    return PNG_START + b"".join(png_chunk(*part) for part in (header, *chunks, png_pixels([rows]), (b"IEND", b"")))


def interlaced_png(rgb: np.ndarray) -> bytes:
    """An RGB PNG in Adam7's seven passes."""
    starts = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    passes = png_pixels([rgb[top::down, left::right] for top, left, down, right in starts])
    header = png_header(rgb.shape[1], rgb.shape[0], 8, 2, interlaced=1)
    return PNG_START + b"".join(png_chunk(*part) for part in (header, passes, (b"IEND", b"")))


def png_header(width: int, height: int, depth: int, colours: int, interlaced: int = 0) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colours, 0, 0, interlaced)


def png_pixels(passes: Sequence[np.ndarray]) -> tuple[bytes, bytes]:
    rows = [np.ascontiguousarray(row).tobytes() for one in passes for row in one]
    return b"IDAT", zlib.compress(b"".join(b"\0" + row for row in rows))


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def huge() -> dict[str, bytes]:
    """Small files that declare 60,000 x 60,000 pixels (WebP: as many as it can)."""
    tiny = noise(8, 8)
    jpeg = bytearray(saved(tiny, "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 60_000, 60_000)
    bmp = bytearray(saved(tiny, "BMP"))
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    gif = bytearray(saved(tiny, "GIF"))
    gif[6:10] = struct.pack("<HH", 60_000, 60_000)
    tiff = bytearray(saved(tiny, "TIFF"))
    for tag in (256, 257):  # width, height: entries of one long number
        entry = tiff.index(struct.pack("<HHI", tag, 4, 1), 8)
        tiff[entry + 8 : entry + 12] = struct.pack("<I", 60_000)
    webp = bytearray(saved(noise(8, 8, 4), "WEBP"))
    place = webp.index(b"VP8X")
    webp[place + 12 : place + 18] = (16_382).to_bytes(3, "little") * 2
    parts = (png_header(60_000, 60_000, 8, 2), (b"IDAT", zlib.compress(bytes(100))), (b"IEND", b""))
    whole = PNG_START + b"".join(png_chunk(*part) for part in parts)
    return {
        "jpg": bytes(jpeg),
        "png": whole,
        "bmp": bytes(bmp),
        "gif": bytes(gif),
        "tif": bytes(tiff),
        "webp": bytes(webp),
    }
