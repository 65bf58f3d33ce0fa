"""What a file is, by its first bytes: the formats that are read, and by name and with a cure those that are not."""

import os
import re
from collections import Counter
from collections.abc import Iterable

from supcon.images.geometry import Unreadable
from supcon.storage.pointers import pointer

HEAD = 352  # bytes that tell the format, so that a film named .jpg is not read to its end; NIfTI's mark is the last

_SIGNATURE = re.compile(
    rb"(?P<JPEG>\xff\xd8\xff)|(?P<PNG>\x89PNG\r\n\x1a\n)|(?P<WEBP>RIFF....WEBP)|(?P<BMP>BM)"
    rb"|(?P<TIFF>II[*+]\0|MM\0[*+])|(?P<GIF>GIF8)"  # a plus: the 64-bit kind of TIFF
    rb"|(?P<PPM>P[1-6f]\s[\s\d#])|(?P<JPEG2000>\0\0\0\x0cjP  \r\n\x87\n|\xffO\xffQ)|(?P<DDS>DDS )"
    rb"|(?P<ICO>\0\0\x01\0[^\0]\0)|(?P<QOI>qoif)|(?P<PCX>\n[\0\x02-\x05]\x01[\x01\x02\x04\x08])"
    rb"|(?P<SGI>\x01\xda[\0\x01][\x01\x02])"
    rb"|(?P<SUN>\x59\xa6\x6a\x95)",
    re.DOTALL,
)
_AVIF = {b"avif", b"avis"}  # brands in the first box of an ISO file, which may also hold a film
_HEIC = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"}
_TGA = {".tga", ".icb", ".vda", ".vst"}  # a format without a signature

_TO_PNG = "write it as PNG or TIFF, where 16 bits keep its depth"
_UNREAD = (  # pattern of the first bytes, what it is, the cure
    (rb".{128}DICM", "DICOM", _TO_PNG),
    (rb"(\x5c\x01\0\0|\0\0\x01\x5c).{340}(n\+1|ni1)\0", "NIfTI", "write its slices as PNG or TIFF"),
    (rb"SIMPLE  =", "FITS", _TO_PNG),
    (rb"\x93NUMPY", "a NumPy array", _TO_PNG),
    (rb"\x89HDF", "HDF5", "write its images as PNG or TIFF"),
    (rb"8BPS", "PSD", "save it as PNG"),
    (rb"(\xef\xbb\xbf)?\s*(<\?xml.*)?<svg", "SVG", "draw it as PNG"),
    (rb"\xff\n|\0\0\0\x0cJXL ", "JPEG XL", "convert it to PNG"),
    (rb"v/1\x01|#\?RADIANCE", "a picture of high dynamic range", "write it as TIFF"),
    (rb"RIFF....AVI |\x1aE\xdf\xa3|\0\0\x01[\xb3\xba]|FLV\x01", "a film", "write the frames that count as PNG"),
    (rb"%PDF|%!PS", "a PDF or PostScript page", "draw it as PNG"),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!", "an archive", "unpack it"),
    (rb"(\xef\xbb\xbf)?\s*<(!doctype html|!DOCTYPE html|html|HTML)", "a web page", "download it again"),
)
_SUFFIXES = {  # of files without an image's suffix that may hold a competition's images all the same
    "DICOM": (".dcm", ".dicom"),
    "NIfTI": (".nii", ".nii.gz"),
    "FITS": (".fits", ".fit"),
    "MATLAB": (".mat",),
    "TFRecord": (".tfrec", ".tfrecord", ".tfrecords"),
    "pickle": (".pkl", ".pickle"),
    "PSD": (".psd",),
    "SVG": (".svg",),
    "films": (".mp4", ".avi", ".mov", ".mkv", ".webm", ".mpg", ".mpeg"),
    "high dynamic range": (".exr", ".hdr"),
    "camera raw": (".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf", ".rw2"),
}


def sniff(head: bytes, name: str = "") -> str:
    """Return the format that a file's first bytes announce, one of `FORMATS`; TGA, which has no mark, by its `name`.

    Raises `Unreadable` for any other, with its name and the cure where it is known.
    """
    if not head:
        raise Unreadable("empty file")
    match = _SIGNATURE.match(head)
    if match and match.lastgroup:
        return match.lastgroup
    if head[4:8] == b"ftyp":
        return _iso_format(head)
    if reason := pointer(head):
        raise Unreadable(reason)
    for pattern, kind, cure in _UNREAD:
        if re.match(pattern, head, re.DOTALL):
            raise Unreadable(f"not an image that is read here, but {kind}: {cure}")
    if os.path.splitext(name)[1].lower() in _TGA:
        return "TGA"
    raise Unreadable("not an image: its first bytes are of no format that is known")


def _iso_format(head: bytes) -> str:
    end = min(int.from_bytes(head[:4]), len(head))
    brands = {head[8:12], *(head[place : place + 4] for place in range(16, end, 4))}
    if brands & _AVIF:
        return "AVIF"
    kind, cure = ("HEIC", "convert it to JPEG") if brands & _HEIC else ("a film", "write the frames that count as PNG")
    raise Unreadable(f"not an image that is read here, but {kind}: {cure}")


def unread(names: Iterable[str]) -> str:
    """Say how many of these file names have suffixes of other forms that images come in, by form; empty for none."""
    kinds = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes}
    found = Counter[str]()
    first = dict[str, str]()
    for name in names:
        suffix = os.path.splitext(name.lower().removesuffix(".gz"))[1]
        if (kind := kinds.get(suffix)) and not name.startswith("."):
            found[kind] += 1
            first[kind] = min(name, first.get(kind, name))
    return ", ".join(
        f"{count:,} file{'s' * (count > 1)} of {kind} (such as {first[kind]})" for kind, count in found.most_common()
    )
