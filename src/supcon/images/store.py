"""How images are kept between their files and their views: as pixels, as JPEG, or not at all.

Whoever reads an image for a model, in training or in a bundle, gets it by way of a `How`, so that a test image is
treated as a held-out one (law 3): what JPEG of that quality, or reduced decoding, makes of it.
"""

import json
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from supcon.images.decode import Decoded, read_image, told
from supcon.images.geometry import Fit, Image, cached_side, resize, shrunk_size
from supcon.images.reading import DEFAULT, Reading
from supcon.images.shards import Bytes
from supcon.settings.settings import DataSettings

StoreName = Literal["pixels", "jpeg", "files"]

# Optimised Huffman tables: 1/7.0 of the pixels' bytes, 1/5.9 without (plant-seedlings, 128 px, quality 95), decoded no
# slower. Progressive files are 1 % smaller yet, but take 2.6 times as long to decode.
_ENCODER = [cv2.IMWRITE_JPEG_OPTIMIZE, 1]
_ENCODER += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420]  # what cameras write


@dataclass(frozen=True)
class Store:
    """What is kept of an image."""

    name: StoreName = "pixels"
    quality: int = 0  # of JPEG alone

    @property
    def key(self) -> str:
        """What tells what one store keeps from what others do; empty for pixels."""
        return {"pixels": "", "jpeg": f" jpeg {self.quality}", "files": " files"}[self.name]

    def pack(self, image: Image) -> Bytes:
        """Return the bytes that are kept of an image."""
        if self.name == "files":
            return np.zeros(0, np.uint8)
        if self.name == "pixels":
            return image.reshape(-1)
        options = [cv2.IMWRITE_JPEG_QUALITY, self.quality, *_ENCODER]
        return cv2.imencode(".jpg", cv2.cvtColor(image, cv2.COLOR_RGB2BGR), options)[1]

    def unpack(self, kept: Bytes, height: int, width: int) -> Image:
        """Return the image that `kept` is of, [height, width, 3]: another than was packed, where that was JPEG."""
        if self.name == "pixels":
            return kept.reshape(height, width, 3)
        image = np.asarray(cv2.imdecode(kept, cv2.IMREAD_COLOR_RGB), np.uint8)
        image.flags.writeable = False  # as pixels are
        return image


PIXELS = Store()


def store_of(data: DataSettings) -> Store:
    """Return the store that the settings name. Raises `ValueError` while it is `auto`."""
    if data.store == "auto":
        raise ValueError("the store has not been chosen")
    return Store(data.store, data.jpeg_quality if data.store == "jpeg" else 0)


@dataclass(frozen=True)
class How:
    """The way of an image from its file to what views are made of."""

    side: int  # that images are kept for, pixels
    fit: Fit
    reading: Reading = DEFAULT
    store: Store = field(default_factory=Store)

    @property
    def key(self) -> str:
        """What tells images made one way from those made another."""
        return f"{self.side} {self.fit}{self.reading.key}{self.store.key}"

    def read(self, path: str) -> Decoded:
        """Return a file's image shrunk, before it is packed. Raises as `read_image` does.

        Where nothing is kept it is decoded at a half, a quarter or an eighth of its size, if that is enough.
        """
        enough = partial(shrunk_size, side=self.side, fit=self.fit) if self.store.name == "files" else None
        decoded = read_image(path, self.reading, enough)
        width, height = decoded.size
        image = resize(decoded.image, *shrunk_size(height, width, self.side, self.fit))
        return decoded._replace(image=np.ascontiguousarray(image))

    def seen(self, path: str) -> Image:
        """Return a file's image as views are made of it, with a cache or without. Raises as `read_image` does."""
        image = self.read(path).image
        return image if self.store.name == "files" else self.store.unpack(self.store.pack(image), *image.shape[:2])

    def decode(self, path: Path) -> Image:
        """Return what `seen` does. Raises `UserError` as `supcon.images.decode.decode` does."""
        with told(path):
            return self.seen(str(path))

    def to_json(self) -> str:
        """Return it as text, from which `how_from` makes it again."""
        return json.dumps(asdict(self))


def how_for(data: DataSettings, side: int, reading: Reading) -> How:
    """Return the way of images for training or prediction at `side` pixels."""
    return How(cached_side(side), data.fit, reading, store_of(data))


def how_from(text: str) -> How:
    """Return what `to_json` made text of. Raises `ValueError`, `KeyError` or `TypeError` for anything else."""
    content: dict[str, Any] = json.loads(text)
    reading = Reading(**{**content["reading"], "bands": tuple(content["reading"]["bands"])})
    return How(content["side"], content["fit"], reading, Store(**content["store"]))
