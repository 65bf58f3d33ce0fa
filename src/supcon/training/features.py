"""Features of a frozen encoder, of some views of every image: computed once a root, for all its runs and folds.

They see no label (law 1). A random view depends on (image's position, view) alone (law 6), whatever `train.seed` is:
from among them training draws anew at every step.
"""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from supcon.arrays import Labels, Rows
from supcon.errors import UserError
from supcon.images.augment.single import RandomView
from supcon.images.augment.views import prediction_views
from supcon.images.cache import ImageCache
from supcon.randomness import seed_at
from supcon.run.done import not_as_hashed
from supcon.run.experiment import Experiment
from supcon.storage import lock
from supcon.storage.files import digest, digest_rows, read_checked_json, sha256_file, write_atomic, write_checked_json
from supcon.training.data import Batch, FixedViews
from supcon.training.device import forward_views
from supcon.training.loader import fixed_loader, worker_count
from supcon.training.log import bar
from supcon.training.model.encoder import Encoder, encoder_of, fuse_batch_norm
from supcon.training.sampler import Key

PLAIN, RANDOM = "plain", "random"  # test-time views of all rows; random views of those that are trained on
_PART = 2048  # rows of a file: a computation that was ended goes on after its last one
_UNFINISHED = "parts.json"  # hashes of the files so far
_LARGEST = float(np.finfo(np.float16).max)


@torch.inference_mode()
def evaluate(model: nn.Module, batches: Iterable[Tensor], device: torch.device, precision: str, label: str) -> Tensor:
    """Return the model's float32 outputs for every row and view, [rows, views, ...], on the CPU.

    `batches` are uint8 tensors [B, views, side, side, 3]; `label` names the progress bar.
    """
    return torch.cat([forward_views(model, views, device, precision)[0] for views in bar(batches, label)]).clone()


class FeatureTable:
    """Features of some views of each row, [rows, views, width], in files of half precision."""

    def __init__(self, folder: Path, name: str, views: int, width: int) -> None:
        self._folder, self._name = folder, name
        self.views, self.width = views, width
        self._open: dict[int, int] = {}  # descriptors by part

    def read(self, rows: Sequence[int] | Rows) -> Tensor:
        """Return features, float32 [n, views, width]."""
        values = np.empty((len(rows), self.views, self.width), np.float16)
        length = values[:1].nbytes
        for number, row in enumerate(rows):
            part, position = divmod(int(row), _PART)
            if part not in self._open:
                self._open[part] = os.open(part_file(self._folder, self._name, part), os.O_RDONLY | os.O_CLOEXEC)
            stored = np.frombuffer(os.pread(self._open[part], length, position * length), np.float16)
            values[number] = stored.reshape(values.shape[1:])
        return torch.from_numpy(values.astype(np.float32))

    def __del__(self) -> None:
        for descriptor in self._open.values():
            os.close(descriptor)


@dataclass(frozen=True)
class Features:
    """The features of a competition's images: rows are positions in the image cache."""

    plain: FeatureTable
    random: FeatureTable

    @property
    def width(self) -> int:
        """Features of a view."""
        return self.plain.width


class FixedFeatures(Dataset[Tensor]):
    """Features of the first test-time views of rows, [n, views, width]."""

    def __init__(self, table: FeatureTable, positions: Rows, views: int) -> None:
        self._table, self._positions, self._views = table, positions, views
        self.row_bytes = views * table.width * 4

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, rows: Sequence[int]) -> Tensor:
        return self._table.read(self._positions[list(rows)])[:, : self._views]


class DrawnFeatures(Dataset[Batch]):
    """Features of random views of rows, drawn by (seed, epoch, row, occurrence) from those that were computed."""

    def __init__(self, table: FeatureTable, positions: Rows, labels: Labels, views: int, seed: int) -> None:
        self._table, self._positions, self._labels = table, positions, labels
        self._views, self._seed = views, seed
        self.row_bytes = views * table.width * 4

    def __getitems__(self, keys: list[Key]) -> Batch:
        """Return one batch by its sampler's keys: [B, views, width] and labels [B]."""
        rows = np.array([row for row, _, _ in keys])
        features = self._table.read(self._positions[rows])
        drawn = torch.tensor([self._draw(key) for key in keys])
        return features[torch.arange(len(keys))[:, None], drawn], torch.from_numpy(self._labels[rows])

    def _draw(self, key: Key) -> list[int]:
        row, occurrence, epoch = key
        order = np.random.default_rng(seed_at(self._seed, epoch, row, occurrence)).permutation(self._table.views)
        return [int(order[view % len(order)]) for view in range(self._views)]


def open_features(experiment: Experiment, device: torch.device) -> Features:
    """Open (at first: compute) the features. Raises `UserError` where they are damaged, or the disk is full."""
    work = _Work(experiment, device)
    index = work.folder / "index.json"
    if not index.exists():
        with lock.alone(work.folder.with_name(f".{work.folder.name}.lock"), "the features of the frozen encoder"):
            if not index.exists():
                with torch.random.fork_rng(devices=[]):  # whoever computes them trains as whoever finds them
                    work.compute()
    return read_features(work.folder)


@cache
def read_features(folder: Path) -> Features:
    """Return the features in `folder`, compared once a process. `UserError` where a file is not as it was written."""
    cure = f"delete {folder}, and the next command computes the features anew"
    content = read_checked_json(folder / "index.json", cure)
    for path in not_as_hashed(folder, content["files"]):
        raise UserError(f"{path} is missing or damaged: {cure}")
    plain, random = (FeatureTable(folder, name, content[name], content["width"]) for name in (PLAIN, RANDOM))
    return Features(plain, random)


def part_file(folder: Path, name: str, part: int) -> Path:
    """Return the file of so many rows of a table."""
    return folder / f"{name}-{part:04d}.bin"


class _Work:
    """What is to be computed, and where it is kept."""

    def __init__(self, experiment: Experiment, device: torch.device) -> None:
        self._experiment, self._settings, self._device = experiment, experiment.settings, device
        self._images = experiment.open_training_images(), experiment.open_prediction_images()
        settings = self._settings
        self._plain = prediction_views(settings.augment, settings.predict.views)
        self._strength = (settings.pretrain if settings.pretrain.epochs else settings.finetune).strength
        # rows of the test set are trained on in some runs
        with_test = bool(settings.pseudo.run) or settings.pretrain.use_test
        self._rows = {PLAIN: len(self._images[0]), RANDOM: len(self._images[0]) if with_test else len(experiment.split)}
        model = dataclasses.asdict(settings.model)
        key = {
            "images": [digest_rows(experiment.hashes), *(images.key for images in self._images)],
            "encoder": [model[name] for name in ("encoder", "kwargs")],
            "weights": experiment.weights_digest if settings.model.weights else "",
            "views": [list(self._plain), settings.model.frozen_views, self._strength],
            "augment": dataclasses.asdict(settings.augment),
            "train": [settings.train.precision, settings.train.channels_last],
            "rows": self._rows,
        }
        self.folder = experiment.request.root / "cache" / f"features-{digest(key)[:16]}"

    @cached_property
    def _encoder(self) -> Encoder:
        """The encoder with its weights: loaded at the first part that is not there yet."""
        encoder = encoder_of(self._settings, load_weights=True)
        return fuse_batch_norm(encoder.to(self._device), self._settings.data.image_size)

    def compute(self) -> None:
        """Compute what is not there yet, part by part; the index comes last."""
        settings, data = self._settings, self._settings.data
        count = f"{len(self._plain)} test-time and {settings.model.frozen_views} random views"
        rows = f"of {self._rows[PLAIN]:,} images by {settings.model.encoder}"
        print(f"features: {count} {rows}, once for all runs and folds in {self.folder}", flush=True)
        training, plain = self._images
        side = self._experiment.prediction_side
        transform = RandomView(settings.augment, data.image_size, data.fit, self._strength)
        done = self._whole_parts()
        for name in (PLAIN, RANDOM):
            for start in range(0, self._rows[name], _PART):
                path = part_file(self.folder, name, start // _PART)
                if path.name in done:
                    continue
                positions = np.arange(start, min(start + _PART, self._rows[name]))
                views: Dataset[Tensor] = _RandomViews(training, positions, transform, settings.model.frozen_views)
                if name == PLAIN:
                    views = FixedViews(plain, positions, self._plain, side, data.fit)
                label = f"features {name} {start // _PART + 1}/{-(-self._rows[name] // _PART)}"
                self._write_part(path, views, label)
                done[path.name] = sha256_file(path)
                write_checked_json(self.folder / _UNFINISHED, done)
        write_checked_json(self.folder / "index.json", {
            PLAIN: len(self._plain), RANDOM: settings.model.frozen_views, "width": self._encoder.width, "files": done,
        })  # fmt: skip
        (self.folder / _UNFINISHED).unlink(missing_ok=True)

    def _whole_parts(self) -> dict[str, str]:
        """Return the hashes of the parts that an ended computation left, as they were written."""
        path = self.folder / _UNFINISHED
        try:
            hashes: dict[str, str] = read_checked_json(path) if path.exists() else {}
        except UserError:
            return {}
        damaged = {path.name for path in not_as_hashed(self.folder, hashes)}
        return {name: value for name, value in hashes.items() if name not in damaged}

    def _write_part(self, path: Path, views: Dataset[Tensor], label: str) -> None:
        workers = worker_count(self._settings.machine.workers)
        loader = fixed_loader(views, self._settings.predict.batch_size, workers)
        features = evaluate(self._encoder, loader, self._device, self._settings.train.precision, label)
        stored: npt.NDArray[np.float16] = features.clamp(-_LARGEST, _LARGEST).half().numpy()
        write_atomic(path, lambda file: file.write(stored.tobytes()))


class _RandomViews(Dataset[Tensor]):
    """Random views of images, uint8 [n, views, side, side, 3], each by its address."""

    def __init__(self, cache: ImageCache, positions: Rows, transform: RandomView, views: int) -> None:
        self._cache, self._positions, self._transform, self._views = cache, positions, transform, views
        self.row_bytes = views * transform.side**2 * 3

    def __len__(self) -> int:
        return len(self._positions)

    def __getitems__(self, rows: Sequence[int]) -> Tensor:
        made = [self._views_of(int(self._positions[row])) for row in rows]
        return torch.from_numpy(np.stack(made))

    def _views_of(self, position: int) -> npt.NDArray[np.uint8]:
        image, seeds = self._cache[position], (seed_at("frozen", position, view) for view in range(self._views))
        return np.stack([self._transform(image, seed) for seed in seeds])
