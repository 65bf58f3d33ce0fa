"""Pictures within a page: figures as SVG or PNG, whichever is smaller, images as JPEG or PNG thumbnails."""

import base64
import io
from dataclasses import dataclass

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from supcon.images.geometry import Image, resize
from supcon.plots import as_png

THUMBNAIL = 96  # pixels of the longer side at most
_LARGEST_SVG = 60_000  # bytes; about what a PNG of the same figure takes
_LOSSLESS = 48  # pixels of the longer side: up to this size JPEG's artefacts would be seen


@dataclass(frozen=True)
class Picture:
    """Bytes of a picture as an address, and its size on the page in CSS pixels."""

    uri: str
    width: int
    height: int
    alt: str


def of_figure(figure: Figure, alt: str) -> Picture:
    """Return a plot at its own size, 96 CSS pixels an inch."""
    width, height = (round(96 * inches) for inches in figure.get_size_inches())
    stream = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": alt}):  # the same figure gives the same bytes
        figure.savefig(stream, format="svg", metadata={"Date": None})
    content, kind = stream.getvalue(), "svg+xml"
    if len(content) > _LARGEST_SVG:
        content, kind = as_png(figure), "png"
    return Picture(_uri(kind, content), width, height, alt)


def of_image(image: Image, alt: str) -> Picture:
    """Return a thumbnail of an image [height, width, 3]; small images are enlarged by the page, pixel by pixel."""
    ratio = min(1.0, THUMBNAIL / max(image.shape[:2]))
    height, width = (max(1, round(ratio * side)) for side in image.shape[:2])
    small = resize(np.asarray(image), height, width)
    kind, options = ("png", []) if max(height, width) <= _LOSSLESS else ("jpeg", [cv2.IMWRITE_JPEG_QUALITY, 85])
    _, content = cv2.imencode(f".{kind}", cv2.cvtColor(small, cv2.COLOR_RGB2BGR), options)
    scale = THUMBNAIL / max(height, width)
    return Picture(_uri(kind, content.tobytes()), round(scale * width), round(scale * height), alt)


def _uri(kind: str, content: bytes) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
