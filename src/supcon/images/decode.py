"""An image file in, RGB pixels out: plain JPEG and PNG by cv2, all else by Pillow; what is damaged gets a reason.

cv2 takes a third of Pillow's time for a small JPEG (41 and 133 microseconds at 48 x 48). Both give the same pixels.
A JPEG holds no checksum: flipped bits within a whole file are decoded as they stand.
"""

from contextlib import suppress
from pathlib import Path

import cv2
import numpy as np

from supcon.errors import UserError
from supcon.images.geometry import Image
from supcon.images.headers import Unreadable, is_plain, sniff

DECODER = 2  # raised whenever a file's pixels would come out otherwise than before: then every cache is made anew

_HEAD = 16  # bytes that tell the format, so that a film named .jpg is not read to its end


def decode(path: Path) -> Image:
    """Decode an image file to RGB: EXIF orientation applied, first frame, transparency on white, 16 bit scaled to 8.

    Raises `UserError` for a file that is absent, truncated, empty, no image or over the pixel limit.
    """
    try:
        return read_image(str(path))[0]
    except Unreadable as error:
        raise UserError(f"{path} is not a readable image ({error}): replace it or remove its row") from None


def read_image(path: str) -> tuple[Image, str]:
    """Return a file's pixels and its format, one of `FORMATS`. Raises `Unreadable`; `UserError` where reading fails."""
    try:
        with open(path, "rb", buffering=0) as file:
            head = file.read(_HEAD)
            kind = sniff(head)
            data = head + file.read()
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror or error}") from None
    image: Image | None = None
    if is_plain(data, kind):
        with suppress(cv2.error):  # then Pillow says why
            image = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)  # type: ignore[assignment]
    if image is None:
        from supcon.images.pillow import by_pillow  # late: a host may lack Pillow, and plain files do without

        image = by_pillow(data)
    return image, kind
