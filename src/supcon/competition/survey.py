"""A survey of the host's files: rows, classes, images, their copies, and the memory and disk that they need."""

import shutil
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from supcon.arrays import Rows
from supcon.competition.files.find import ABSENT
from supcon.competition.fit import fit_request, metric_notes
from supcon.competition.folds import join_groups
from supcon.competition.read import Competition, read_competition
from supcon.errors import UserError, one_line
from supcon.images.cache import ImageCache, open_cache, require_readable
from supcon.images.choose import chosen_store
from supcon.images.duplicates import near_duplicates
from supcon.images.hashes import content_hashes
from supcon.images.notes import image_notes
from supcon.images.room import KEPT
from supcon.images.store import store_of
from supcon.images.value_range import reading_of
from supcon.metrics.top_k import keeps_all, width
from supcon.settings import Request
from supcon.settings.sources import builtin_in
from supcon.storage.files import read_npz, write_npz
from supcon.storage.processes import available_cores
from supcon.storage.sizes import bytes_text, memory_text

SHOWN = 5  # classes at either end of the list

Pairs = npt.NDArray[np.int64]  # [pairs, 2]: positions among all images, training rows first


@dataclass(frozen=True)
class Copies:
    """Images that show the same, equal or nearly so, in pairs: the first training row of a group, and a copy of it."""

    within_train: Pairs  # two training rows, which share a fold
    contradictions: Pairs  # two training rows with different labels
    test_in_train: Pairs  # a training row and a test row

    def text(self, competition: Competition) -> list[str]:
        """Return a line for each kind of copies that there is."""
        paths, labels = competition.paths, list(competition.train["label"])

        def shown(pairs: Pairs) -> str:
            names = (paths[row] + (f" ({labels[row]})" if row < len(labels) else "") for row in pairs[0].tolist())
            return " and ".join(names)

        kinds = [
            (self.within_train, "{} training images are copies of others: copies share a fold"),
            (self.contradictions, "{} of them have another label, first {}: one of the two is wrong"),
            (self.test_in_train,
             "{} test images are copies of training images, first {}: scores of such rows say little"),
        ]  # fmt: skip
        return [line.format(len(pairs), shown(pairs)) for pairs, line in kinds if len(pairs)]


@dataclass(frozen=True)
class Survey:
    """The competition, with its images decoded and compared with each other."""

    request: Request
    competition: Competition
    images: ImageCache
    copies: Copies
    notes: list[str] = field(default_factory=list)  # beside those of the competition

    @property
    def unreadable_training_rows(self) -> Rows:
        """Positions of the training rows whose images cannot be read."""
        problems = np.array(list(self.images.problems), dtype=np.int64)
        return problems[problems < len(self.competition.train)]

    def text(self) -> str:
        """Return the survey as text, a line for each topic."""
        competition, root = self.competition, self.request.root
        free = shutil.disk_usage(root).free
        train, sample = competition.train, competition.sample
        hidden = ", whose images are not here" * competition.hides_test
        lines = [
            ("input", f"{competition.folder}" + (f", unpacked into {p}" if (p := competition.unpacked) else "")
                      + (f", the built-in competition {name}" if (name := builtin_in(competition.folder)) else "")),
            ("rows", f"{len(train):,} to train on, {len(sample.ids):,} to predict{hidden}"),
            ("classes", _classes(train["label"].tolist())),
            ("groups", _groups(train["group"].tolist())),
            ("images", _images(self.images)),
            ("unreadable", _first([f"{competition.paths[position].removeprefix(ABSENT)} ({reason})"
                                   for position, reason in self.images.problems.items()])),
            ("not used", _first(sorted(set(competition.index.paths) - set(competition.paths)))),
            ("copies", "; ".join(self.copies.text(competition)) or "none"),
            ("submission", f"{sample.path.name}: {sample.id_column}, then {competition.form}; scored by"
                           f" {self.request.settings.tune.metric}"),
            ("machine", f"{available_cores()} cores, {'an' if shutil.which('nvidia-smi') else 'no'} NVIDIA driver"),
            ("disk", f"{_kept(self.images)}, {bytes_text(free)} free below {root}"),
            ("memory", self._memory()),
            *(("note", line) for line in (*competition.notes, *self.notes)),
        ]  # fmt: skip
        return "\n".join(f"{topic:<12}{one_line(text)}" for topic, text in lines)

    def _memory(self) -> str:
        """Return the memory that rows need; the memory of the network depends on the encoder and the batch."""
        numbers = width(len(self.competition.classes))
        if keeps_all(len(self.competition.classes)):
            numbers *= self.request.settings.predict.views * self.request.settings.data.folds
        else:
            numbers *= 2  # the files of the folds are read in parts
        logits = bytes_text(4 * len(self.competition.test) * numbers)
        return f"{logits} for the test rows' logits in ensemble; images are not loaded all ({memory_text()})"


def survey(request: Request) -> Survey:
    """Read the host's files, decode every image once, search for copies. Raises `UserError` for what does not fit."""
    data, cache = request.settings.data, request.root / "cache"
    competition = read_competition(request.root / "input", cache, data)
    asked, request = request.settings.tune.metric, fit_request(request, competition)
    if (taken := request.settings.tune.metric) != asked:
        competition.notes.append(
            f"{asked} scores labels, but {competition.sample.path.name} asks for {competition.form}: {taken} is taken;"
            " --tune.metric log_loss where the host scores by that"
        )
    competition.notes.extend(metric_notes(request, competition))
    files = competition.files
    hashes = content_hashes(cache, files)
    reading = reading_of(data, cache, files, hashes, len(competition.train))
    data = chosen_store(data, cache, files, hashes, reading)
    request = replace(request, settings=replace(request.settings, data=data))
    images = open_cache(cache, files, hashes, data.image_size, data.fit, reading, store_of(data))
    if data.bad_images == "error":
        require_readable(images, files)
    copies = find_copies(competition, remembered_copies(cache, images))
    notes = [*image_notes(images, reading, len(competition.train)), *_rare_classes(competition, request)]
    return Survey(request, competition, images, copies, notes)


def _rare_classes(competition: Competition, request: Request) -> list[str]:
    """Return a line where the split, which comes next, will refuse a class for its few rows."""
    data, counts = request.settings.data, competition.train["label"].value_counts()
    few = counts[counts < data.folds]
    if len(few) == 0 or data.rare_classes != "error" or (request.root / "folds" / "folds.csv").exists():
        return []
    return [
        f"{len(few):,} classes have fewer rows than the {data.folds} folds, first {few.index[0]!r} with {few.iloc[0]}:"
        " choose --data.rare_classes train_only, or fewer --data.folds"
    ]


def remembered_copies(cache: Path, images: ImageCache) -> Pairs:
    """Return the pairs of copies. They are kept in the cache, because comparing all images takes long.

    What was found first holds for every store of the same images: JPEG and reduced decoding change pixels a little, and
    what is a copy must not depend on them once the split stands on it.
    """
    path = cache / f"copies-of-{images.images_key}.npz"
    if path.exists():
        with suppress(UserError, KeyError):
            return read_npz(path)["pairs"]
        print(f"copies: {path} is damaged: it is made anew", flush=True)
    readable = np.setdiff1d(np.arange(len(images)), list(images.problems))
    pairs = near_duplicates(images, readable.tolist())
    write_npz(path, {"pairs": pairs})
    return pairs


def find_copies(competition: Competition, pairs: Pairs) -> Copies:
    """Group `pairs` of copies among all images (copies of copies are copies), and sort them by kind."""
    rows = len(competition.train)
    group = join_groups([""] * len(competition.paths), pairs)
    first = np.full(group.max(initial=-1) + 1, -1)
    members = np.arange(rows)[::-1]
    first[group[members]] = members  # the first training row of each group
    original = first[group]
    linked = np.flatnonzero((original >= 0) & (original != np.arange(len(group))))
    copies = np.column_stack([original[linked], linked]).astype(np.int64)
    within, labels = copies[copies[:, 1] < rows], competition.train["label"].to_numpy()
    differ = labels[within[:, 0]] != labels[within[:, 1]]
    return Copies(within, within[differ], copies[copies[:, 1] >= rows])


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
    ranked = sizes[np.argsort(sizes.prod(axis=1))]
    small, middle, large = (f"{width} x {height}" for width, height in ranked[[0, len(ranked) // 2, -1]])
    return f"{formats}; {small} to {large} pixels, the median {middle}"


def _kept(images: ImageCache) -> str:
    """Return what is kept of the images."""
    if images.kept_as == "files":
        return "no decoded images: each is decoded from its file at each use"
    return f"{bytes_text(images.bytes)} of {KEPT[images.kept_as]}"


def _first(names: list[str]) -> str:
    if not names:
        return "none"
    return f"{len(names):,}: {', '.join(names[:SHOWN])}" + (", ..." if len(names) > SHOWN else "")
