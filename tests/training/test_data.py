"""Two workers never share a stream, and a row drawn twice looks different, in workers and on the device."""

import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from supcon.images.augment.batch import BatchViews
from supcon.images.augment.recipes import ranges_of
from supcon.images.augment.single import RandomView
from supcon.images.augment.views import prediction_views
from supcon.images.cache import ImageCache, open_cache
from supcon.images.hashes import content_hashes
from supcon.settings.settings import AugmentSettings
from supcon.training.data import Batch, Canvases, FixedViews, TrainingViews, ViewsOnDevice
from supcon.training.loader import fixed_loader, training_loader
from supcon.training.sampler import PKSampler
from tests.conftest import REPOSITORY

AUGMENT = AugmentSettings(hflip=False, shift=0.2, rotate=30)
POLICIES = ("none", "randaugment", "trivialaugment", "augmix")


def cache_of(folder: Path, images: int = 12) -> ImageCache:
    (folder / "in").mkdir()
    for number in range(images):
        pixels = np.random.default_rng(number).integers(0, 256, (20, 20, 3)).astype(np.uint8)
        cv2.imwrite(str(folder / "in" / f"{number}.png"), pixels)
    files = [folder / "in" / f"{number}.png" for number in range(images)]
    return open_cache(folder / "cache", files, content_hashes(folder / "cache", files), 20, "squash")


def epoch_of(
    cache: ImageCache, workers: int, epoch: int, views: int = 2, on_device: bool = False, policy: Any = "none"
) -> tuple[torch.Tensor, torch.Tensor]:
    labels = np.arange(12) % 3
    sampler = PKSampler(labels, 3, 6, seed=0)  # 6 of 4 images: rows are drawn twice
    sampler.set_epoch(epoch)
    batches: Iterable[Batch]
    if on_device:
        ranges = ranges_of(AUGMENT, 1.0)
        canvases = Canvases(cache, np.arange(12), labels, ranges, [20, 20], "squash", views, seed=0)
        make = BatchViews(ranges, 20, torch.device("cpu"))
        batches = list(ViewsOnDevice(training_loader(canvases, sampler, workers), make))
    else:
        augment = AUGMENT if policy == "none" else AugmentSettings(policy=policy)
        transforms = [RandomView(augment, 20, "squash", 1.0)] * 2
        dataset = TrainingViews(cache, np.arange(12), labels, transforms, views, seed=0)
        batches = list(training_loader(dataset, sampler, workers))
    return torch.cat([batch for batch, _ in batches]), torch.cat([labels for _, labels in batches])


@pytest.mark.parametrize(("on_device", "policy"), [(True, "none"), *((False, policy) for policy in POLICIES)])
def test_views_are_the_same_whatever_the_number_of_workers(tmp_path: Path, on_device: bool, policy: str) -> None:
    cache = cache_of(tmp_path)
    alone, labels = epoch_of(cache, 0, epoch=1, on_device=on_device, policy=policy)
    assert sorted(labels.tolist()) == sorted(epoch_of(cache, 0, epoch=1)[1].tolist())
    for workers in (1, 3):
        views, same = epoch_of(cache, workers, epoch=1, on_device=on_device, policy=policy)
        assert torch.equal(views, alone)
        assert torch.equal(same, labels)


@pytest.mark.parametrize("on_device", [False, True])
def test_no_two_views_of_an_epoch_and_no_two_epochs_are_alike(tmp_path: Path, on_device: bool) -> None:
    cache = cache_of(tmp_path)
    first, _ = epoch_of(cache, 2, epoch=0, on_device=on_device)
    second, _ = epoch_of(cache, 2, epoch=1, on_device=on_device)
    everything = torch.cat([first, second]).flatten(0, 1)
    assert len({view.numpy().tobytes() for view in everything}) == len(everything)


def test_fixed_views_come_in_order_with_every_view(tmp_path: Path) -> None:
    cache = cache_of(tmp_path)
    views = prediction_views(AugmentSettings(hflip=True), 2)
    dataset = FixedViews(cache, np.array([3, 5, 7]), views, 20, "squash")
    result = torch.cat(list(fixed_loader(dataset, 2, 1)))
    assert result.shape == (3, 2, 20, 20, 3)
    np.testing.assert_array_equal(result[1, 0].numpy(), cache[5])
    np.testing.assert_array_equal(result[2, 1].numpy(), cache[7][:, ::-1])


@pytest.mark.parametrize("policy", POLICIES)
def test_loaders_leave_the_global_random_stream_alone(tmp_path: Path, policy: str) -> None:
    cache = cache_of(tmp_path)
    torch.manual_seed(3)
    expected = torch.rand(1)
    for workers in (0, 1):
        torch.manual_seed(3)
        epoch_of(cache, workers, epoch=0, policy=policy)
        assert torch.equal(torch.rand(1), expected)


ORPHAN = """
import os, time
import torch
from torch.utils.data import TensorDataset
from torch.utils.data._utils import worker

parent, watch = os.getpid(), worker.ManagerWatchdog
def late():  # torch's watch begins when the parent has gone, and takes the process that adopts it for the parent
    while os.getppid() == parent:
        time.sleep(0.05)
    return watch()
worker.ManagerWatchdog = late

from supcon.training.loader import fixed_loader
batches = iter(fixed_loader(TensorDataset(torch.zeros(4)), 1, 1))
os._exit(7)
"""


def test_a_worker_ends_with_its_process_even_when_that_ends_while_the_worker_starts() -> None:
    command = [sys.executable, "-c", ORPHAN]
    ended = subprocess.run(command, cwd=REPOSITORY / "src", stdout=subprocess.PIPE, timeout=60, check=False)
    assert ended.returncode == 7  # its output ends with the last process that has it
