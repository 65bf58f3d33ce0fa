"""Does the data keep up? Views/s made by loader processes and on the device, alone and beside training; prediction.

    python benchmarks/gpu_data.py --device cuda --json data.json

Random views of a synthetic competition's cached images, by one loader process less than there are cores. `alone`: the
views are made and dropped; `training`: contrastive steps of the network in bfloat16 take them; `network alone`: the
same steps on one batch that lies on the device.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import cycle
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src"), str(ROOT)]

from benchmarks.gpu_training import CLASSES, Trainer, Variant, trainer  # noqa: E402

from supcon.images.augment.batch import BatchViews  # noqa: E402
from supcon.images.augment.recipes import ranges_of  # noqa: E402
from supcon.images.augment.single import RandomView  # noqa: E402
from supcon.images.augment.views import prediction_views  # noqa: E402
from supcon.images.cache import ImageCache, open_cache  # noqa: E402
from supcon.images.hashes import content_hashes  # noqa: E402
from supcon.settings.settings import AugmentSettings, MachineSettings  # noqa: E402
from supcon.training.data import Batch, Canvases, FixedViews, TrainingViews, ViewsOnDevice  # noqa: E402
from supcon.training.device import set_up_device  # noqa: E402
from supcon.training.fold import evaluate  # noqa: E402
from supcon.training.loader import fixed_loader, training_loader, worker_count  # noqa: E402
from supcon.training.sampler import PKSampler  # noqa: E402

AUGMENT = {
    "mild": AugmentSettings(crop=0.8, color=0.1),
    "rich": AugmentSettings(crop=0.4, color=0.4, gray=0.2, blur=0.3, rotate=15),
}
SCENES = {"resnet18": (32, 1024), "tf_efficientnet_lite0": (128, 256)}  # side, images a batch
QUICK = {"test_resnet": (16, 64)}
WARM = 4  # batches
FASTEST = Variant(tf32=True, precision="bfloat16", channels_last=True, fused=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="few images and a tiny network, to try the script")
    parser.add_argument("--json", type=Path, help="also write the rows here, after each")
    args = parser.parse_args()
    device = set_up_device(MachineSettings(device=args.device))
    rows: list[dict[str, Any]] = []

    def add(network: str, side: int, what: str, speed: float) -> None:
        rows.append({"network": network, "px": side, "what": what, "images/s": speed})
        print(f"| {network} | {side} | {what} | {speed:,.0f} |", flush=True)
        if args.json:
            args.json.write_text(json.dumps(rows, indent=1))

    workers = worker_count(-1)
    print(
        f"{workers} loader processes of {os.cpu_count()} cores\n\n| network | px | what | images/s |\n|---|---|---|---|"
    )
    seconds = 0.5 if args.quick else 2.5
    with tempfile.TemporaryDirectory() as folder:
        for network, (side, batch) in (QUICK if args.quick else SCENES).items():
            cache = synthetic_cache(Path(folder) / network, side, 100 if args.quick else 2000)
            trained = trainer(network, side, FASTEST, device)
            speed = training_speed(trained, one_batch(side, batch, device), seconds, device)
            add(network, side, "network alone", speed)
            for name, augment in AUGMENT.items():
                for place in ("workers", "device"):
                    loader = loader_of(cache, augment, side, batch, place, device)
                    add(network, side, f"{name} views by the {place}, alone", speed_of(loader, None, seconds, device))
                    if name == "rich":
                        speed = training_speed(trained, loader, seconds, device)
                        add(network, side, f"{name} views by the {place}, training", speed)
            add(network, side, "prediction, 4 views of each image", prediction_speed(trained, cache, side, device))


def synthetic_cache(folder: Path, side: int, images: int) -> ImageCache:
    """Return a cache of smooth noise, a third wider than high."""
    (folder / "in").mkdir(parents=True)
    draw, height = np.random.default_rng(0), round(1.2 * side)
    for number in range(images):
        small = draw.integers(0, 256, (9, 12, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "in" / f"{number}.jpg"), cv2.resize(small, (round(4 / 3 * height), height)))
    files = sorted((folder / "in").iterdir())
    return open_cache(folder / "cache", files, content_hashes(folder / "cache", files), side, "crop")


def loader_of(
    cache: ImageCache, augment: AugmentSettings, side: int, batch: int, place: str, device: torch.device
) -> Iterable[Batch]:
    """Return a loader of the cache's images, each many times an epoch."""
    positions = np.arange(200 * batch) % len(cache)
    labels = np.arange(len(positions)) % CLASSES
    sampler = PKSampler(labels, CLASSES, batch // CLASSES, seed=0)
    if place == "workers":
        views = TrainingViews(cache, positions, labels, [RandomView(augment, side, "crop", 1.0)], 1, seed=0)
        return training_loader(views, sampler, worker_count(-1))
    ranges = ranges_of(augment, 1.0)
    canvases = Canvases(cache, positions, labels, ranges, [side], "crop", 1, seed=0)
    return ViewsOnDevice(training_loader(canvases, sampler, worker_count(-1)), BatchViews(ranges, side, device))


def one_batch(side: int, batch: int, device: torch.device) -> Iterable[Batch]:
    """Return one batch on the device, again and again."""
    views = torch.randint(0, 256, (batch, 1, side, side, 3), dtype=torch.uint8).to(device)
    return cycle([(views, torch.arange(batch) % CLASSES)])


def training_speed(trained: Trainer, batches: Iterable[Batch], seconds: float, device: torch.device) -> float:
    """Return the images/s of training steps."""

    def step(batch: Batch) -> None:
        trained.step(0, batch[0].to(device, non_blocking=True), batch[1])

    return speed_of(batches, step, seconds, device)


def speed_of(
    batches: Iterable[Batch], use: Callable[[Batch], None] | None, seconds: float, device: torch.device
) -> float:
    """Return the images/s of batches that `use` takes, after a few to warm up."""
    images, started = 0, 0.0
    for number, batch in enumerate(batches):
        if number == WARM:
            synchronise(device)
            started = time.perf_counter()
        if use is not None:
            use(batch)
        if number >= WARM:
            images += batch[0].shape[0] * batch[0].shape[1]
            if time.perf_counter() - started > seconds:
                break
    synchronise(device)
    return images / (time.perf_counter() - started)


def prediction_speed(trained: Trainer, cache: ImageCache, side: int, device: torch.device) -> float:
    """Return the images/s of features in four test-time views, loading included."""
    views = prediction_views(AugmentSettings(hflip=True, vflip=True, rotate90=True), 4)
    repeated = np.arange(4 * len(cache)) % len(cache)
    dataset = FixedViews(cache, repeated, views, side, "crop")
    loader = fixed_loader(dataset, 256, worker_count(-1))
    started = time.perf_counter()
    evaluate(trained.training.encoder, loader, device, trained.precision, "prediction")
    return len(repeated) / (time.perf_counter() - started)


def synchronise(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
