"""A survey of the host's files: rows, classes, images, copies, and the memory and disk that they need."""

import os
import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.arrays import Rows
from supcon.competition.copies import Copies, Pairs, find_copies
from supcon.competition.read import Competition, read_competition
from supcon.images.cache import ImageCache, open_cache, require_readable
from supcon.images.duplicates import near_duplicates
from supcon.images.hashes import content_hashes
from supcon.metrics.top_k import keeps_all, width
from supcon.settings import Call
from supcon.storage.files import read_npz, write_npz
from supcon.storage.processes import available_cores

SHOWN = 5  # classes at either end of the list


@dataclass(frozen=True)
class Survey:
    """The competition, with its images decoded and compared with each other."""

    call: Call
    competition: Competition
    images: ImageCache
    copies: Copies

    @property
    def unreadable(self) -> Rows:
        """Positions of the images that cannot be read, training rows first."""
        return np.array(sorted(self.images.problems), dtype=np.int64)

    @property
    def unreadable_training_rows(self) -> Rows:
        """Positions of the training rows whose images cannot be read."""
        return self.unreadable[self.unreadable < len(self.competition.train)]

    def text(self) -> str:
        """Return the survey as text, a line for each topic."""
        competition = self.competition
        train, test, sample = competition.train, competition.test, competition.sample
        form = f"a probability of each of {len(sample.targets)} classes" if sample.one_hot else "a label"
        lines = [
            ("input", f"{competition.folder}" + (f", unpacked into {p}" if (p := competition.unpacked) else "")),
            ("rows", f"{len(train):,} to train on, {len(test):,} to predict"),
            ("classes", _classes(train["label"].tolist())),
            ("groups", _groups(train["group"].tolist())),
            ("images", _images(self.images)),
            ("unreadable", _first([f"{competition.paths[position]} ({self.images.problems[position]})"
                                   for position in self.unreadable.tolist()])),
            ("not used", _first(sorted(set(competition.index.paths) - set(competition.paths)))),
            ("copies", "; ".join(self.copies.text(competition)) or "none"),
            ("submission", f"{sample.path.name}: {sample.id_column}, then {form}; scored by"
                           f" {self.call.settings.tune.metric}"),
            ("machine", _machine()),
            ("disk", self._disk()),
            ("memory", self._memory()),
        ]  # fmt: skip
        return "\n".join(f"{topic:<12}{text}" for topic, text in lines)

    def _disk(self) -> str:
        free = shutil.disk_usage(self.call.root).free
        return f"{_bytes(self.images.bytes)} of decoded images, {_bytes(free)} free below {self.call.root}"

    def _memory(self) -> str:
        """Return the memory that rows need; the memory of the network depends on the encoder and the batch."""
        views = self.call.settings.predict.views
        numbers = views * self.call.settings.data.folds * width(len(self.competition.classes))
        if not keeps_all(len(self.competition.classes)):
            numbers = 2 * width(len(self.competition.classes))  # the files of the folds are read in parts
        logits = _bytes(4 * len(self.competition.test) * numbers)
        return (
            f"{logits} for the test rows' logits in ensemble; decoded images are mapped, not loaded"
            f" ({_bytes(_available())} available)"
        )


def survey(call: Call) -> Survey:
    """Read the host's files, decode every image once and search for copies.

    Raises `UserError` for files that do not fit, and for unreadable images unless `data.bad_images` is skip.
    """
    data, cache = call.settings.data, call.root / "cache"
    competition = read_competition(call.root / "input", cache, data)
    files = competition.files
    hashes = content_hashes(cache, files)
    images = open_cache(cache, files, hashes, data.image_size, data.fit)
    if data.bad_images == "error":
        require_readable(images, files)
    return Survey(call, competition, images, find_copies(competition, remembered_copies(cache, images)))


def remembered_copies(cache: Path, images: ImageCache) -> Pairs:
    """Return the pairs of copies. They are kept in the cache, because comparing all images takes long."""
    path = cache / f"copies-of-{images.key}.npz"
    if not path.exists():
        readable = np.setdiff1d(np.arange(len(images)), list(images.problems))
        write_npz(path, {"pairs": near_duplicates(images, readable.tolist())})
    return read_npz(path)["pairs"]


def _classes(labels: list[str]) -> str:
    counts = Counter(labels).most_common()
    shown = counts if len(counts) <= 2 * SHOWN else [*counts[:SHOWN], ("...", 0), *counts[-SHOWN:]]
    listed = ", ".join(f"{name} {count:,}" if count else name for name, count in shown)
    return f"{len(counts)}, the largest {counts[0][1] / counts[-1][1]:.1f} times the smallest: {listed}"


def _groups(groups: list[str]) -> str:
    sizes = Counter(group for group in groups if group)
    if not sizes:
        return "none (--data.group_column NAME where rows belong together)"
    return f"{len(sizes):,} of up to {max(sizes.values()):,} rows; a group stays in one fold"


def _images(images: ImageCache) -> str:
    formats = ", ".join(f"{count:,} {name}" for name, count in Counter(images.formats.tolist()).most_common() if name)
    sizes = images.sizes[images.sizes.min(axis=1) > 0]
    if len(sizes) == 0:
        return "none can be read"
    small, middle, large = (sizes[np.argsort(sizes.prod(axis=1))[rank]] for rank in (0, len(sizes) // 2, -1))
    return f"{formats}; {_size(small)} to {_size(large)} pixels, the median {_size(middle)}"


def _first(names: list[str]) -> str:
    if not names:
        return "none"
    return f"{len(names):,}: {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")


def _size(size: npt.NDArray[np.int32]) -> str:
    return f"{size[0]} x {size[1]}"


def _machine() -> str:
    driver = "an NVIDIA driver" if shutil.which("nvidia-smi") else "no NVIDIA driver"
    return f"{available_cores()} cores, {driver}"


def _available() -> int:
    return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _bytes(count: float) -> str:
    unit = next(unit for unit in ("kB", "MB", "GB", "TB") if count < 1000 * _SCALES[unit] or unit == "TB")
    return f"{count / _SCALES[unit]:.3g} {unit}"


_SCALES = {"kB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12}
