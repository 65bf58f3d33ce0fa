"""TIFF files of any number of bands, written by hand: Pillow writes none."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np

KINDS = {"u": 1, "i": 2, "f": 3}  # sample formats


def tiff(
    values: np.ndarray,
    *,
    photometric: int = 1,
    planar: bool = False,
    big_endian: bool = False,
    rows: int = 0,
    tile: int = 0,
    compression: int = 1,
    predictor: int = 1,
    extra: int = 0,
    **more: int,
) -> bytes:
    """Return `values` [height, width, bands] as a TIFF, in strips of `rows` or in tiles; `more` are tags t256=1."""
    height, width, bands = values.shape
    order = ">" if big_endian else "<"
    values = values.astype(f"{order}{values.dtype.str[1:]}")
    planes = [values[..., [band]] for band in range(bands)] if planar else [values]
    pieces = [piece for plane in planes for piece in (_tiles(plane, tile) if tile else _strips(plane, rows or height))]
    packed = [_packed(_differences(piece, predictor), compression) for piece in pieces]
    starts = (8 + np.cumsum([0, *map(len, packed)])[:-1]).tolist()
    places, lengths = (324, 325) if tile else (273, 279)
    base = 3 if photometric == 2 else 1
    tags: dict[int, Sequence[int]] = {
        256: [width], 257: [height], 258: [values.dtype.itemsize * 8] * bands, 259: [compression], 262: [photometric],
        places: starts, 277: [bands], lengths: [len(piece) for piece in packed], 284: [2 if planar else 1],
        317: [predictor], 339: [KINDS[values.dtype.kind]] * bands,
    }  # fmt: skip
    tags |= {322: [tile], 323: [tile]} if tile else {278: [rows or height]}
    tags |= {338: [extra] * (bands - base)} if bands > base else {}
    tags |= {int(name[1:]): [value] for name, value in more.items()}
    return _whole(order, b"".join(packed), tags)


def _whole(order: str, pixels: bytes, tags: dict[int, Sequence[int]]) -> bytes:
    pixels += b"\0" * (len(pixels) % 2)
    start, beyond, directory = 8 + len(pixels), b"", struct.pack(f"{order}H", len(tags))
    for tag, numbers in sorted(tags.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            beyond, packed = beyond + packed, struct.pack(f"{order}I", start + 6 + 12 * len(tags) + len(beyond))
        directory += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + packed
    mark = b"MM\0*" if order == ">" else b"II*\0"
    return mark + struct.pack(f"{order}I", start) + pixels + directory + bytes(4) + beyond


def _strips(plane: np.ndarray, rows: int) -> list[np.ndarray]:
    return [plane[top : top + rows] for top in range(0, len(plane), rows)]


def _tiles(plane: np.ndarray, side: int) -> list[np.ndarray]:
    down, right = (-size % side for size in plane.shape[:2])
    padded = np.pad(plane, ((0, down), (0, right), (0, 0)))
    corners = [(top, left) for top in range(0, len(padded), side) for left in range(0, padded.shape[1], side)]
    return [padded[top : top + side, left : left + side] for top, left in corners]


def _differences(piece: np.ndarray, predictor: int) -> np.ndarray:
    if predictor == 1:
        return piece
    if predictor == 2:  # to the number on the left
        whole = np.ascontiguousarray(piece).view(f"{piece.dtype.str[0]}u{piece.dtype.itemsize}")
        native = whole.astype(whole.dtype.newbyteorder("="))
        return np.diff(native, axis=1, prepend=native[:, :1] * 0).astype(whole.dtype)
    height, width, bands = piece.shape  # 3: the planes of bytes, then their differences
    bytes_of = np.ascontiguousarray(piece.astype(piece.dtype.newbyteorder(">"))).view(np.uint8)
    planes = bytes_of.reshape(height, width * bands, -1).transpose(0, 2, 1).reshape(height, -1, bands)
    return np.diff(planes, axis=1, prepend=planes[:, :1] * 0)


def _packed(piece: np.ndarray, compression: int) -> bytes:
    content = np.ascontiguousarray(piece).tobytes()
    return zlib.compress(content) if compression == 8 else content
