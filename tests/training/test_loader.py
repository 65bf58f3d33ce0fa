"""Loader processes: as many as /dev/shm has room for; what they cannot send, or start with, ends nothing in silence."""

import subprocess
import sys
import time
from collections import namedtuple
from multiprocessing import active_children
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset
from torch.utils.data.dataloader import _MultiProcessingDataLoaderIter

from supcon.errors import KILLED_LOADER, UserError, limit
from supcon.settings.settings import AugmentSettings
from supcon.training import loader
from supcon.training.loader import fixed_loader, training_loader
from supcon.training.sampler import BatchSampler, NaturalSampler, PKSampler, WithUnlabelled
from tests.attacks.attack import permitted
from tests.conftest import REPOSITORY
from tests.processes import start_one_process_alone

Usage = namedtuple("Usage", "free")


class Rows(Dataset[Tensor]):
    """A hundred rows of a thousand bytes."""

    row_bytes = 1000

    def __len__(self) -> int:
        return 100

    def __getitems__(self, rows: list[int]) -> Tensor:
        return torch.zeros(len(rows), self.row_bytes, dtype=torch.uint8)


@pytest.fixture(autouse=True)
def _anew(monkeypatch: pytest.MonkeyPatch) -> None:
    loader._say.cache_clear()
    monkeypatch.setattr(loader, "_BESIDE", 0)


@pytest.mark.parametrize(
    ("free", "workers"),
    [
        (80_000, 3),  # two batches ahead of each, and two in use: of 10 rows of 1,000 bytes
        (79_999, 2),
        (40_000, 1),
        (39_999, 0),
    ],
)
def test_as_many_workers_are_taken_as_shared_memory_has_room_for(
    free: int, workers: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: Usage(free))
    for _ in range(2):
        assert fixed_loader(Rows(), 10, 3).num_workers == workers
    said = capsys.readouterr().out
    assert said.count("\n") == (workers < 3)  # once
    assert said == "" or f"loader processes: {loader.SHARED} has {free / 1000:.3g} kB free, 3 would need 80 kB" in said
    monkeypatch.setenv("SUPCON_CORES", "1")
    monkeypatch.setattr("supcon.storage.processes._all_cores", lambda: 2)  # two jobs share it
    assert fixed_loader(Rows(), 10, 3).num_workers == max(0, (free // 2 // 10_000 - 2) // 2)


def test_few_rows_need_little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loader.shutil, "disk_usage", lambda _: Usage(200_000))
    assert fixed_loader(Rows(), 1_000_000, 2).num_workers == 2


def test_a_temporary_folder_with_a_long_name_leaves_the_workers_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loader.tempfile, "gettempdir", lambda: str(tmp_path / ("t" * 100)))
    assert len(list(fixed_loader(Rows(), 10, 2))) == 10
    assert "no loader processes: TMPDIR /" in capsys.readouterr().out


def test_where_processes_cannot_be_started_a_loader_goes_on_without(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    begun = start_one_process_alone(monkeypatch)
    rows = fixed_loader(Rows(), 10, 2)
    for _ in range(2):  # epochs
        assert len(list(rows)) == 10
    assert capsys.readouterr() == (
        "no loader processes: no more processes or threads can be started: raise the limit (ulimit -u; docker's"
        " --pids-limit) ([Errno 11] Resource temporarily unavailable)\n",
        "",
    )
    begun[0].join(5)
    assert begun[0] not in active_children()


SENT = """
import os, sys
import torch
from supcon.errors import run_stage
from supcon.training.loader import fixed_loader

class Rows(torch.utils.data.Dataset):
    row_bytes = 0  # it does not tell

    def __len__(self):
        return 32

    def __getitems__(self, rows):
        if sys.argv[1] == "killed":
            os.kill(os.getpid(), 9)
        return torch.zeros(len(rows), 1_000_000, dtype=torch.uint8)

run_stage(lambda _: list(fixed_loader(Rows(), 8, 2)))
"""
TMPFS = "mount -t tmpfs -o size=5m tmpfs /dev/shm"


def sent(*words: str, within: str = "") -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-c", SENT, *words]
    if within:
        command = ["unshare", "-m", "bash", "-c", f'{within} && exec "$@"', "in", *command]
    return subprocess.run(command, cwd=REPOSITORY / "src", capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.skipif(not permitted(f"unshare -m bash -c '{TMPFS}'")(), reason="no mount is permitted")
def test_what_a_worker_cannot_send_ends_the_command() -> None:
    result = sent("sent", within=TMPFS)
    assert result.returncode == 2
    assert result.stderr.startswith("error: a loader process could not send a batch: the disk is full: make room")
    assert result.stderr.endswith("in /dev/shm (docker's --shm-size); or use --machine.workers 0\n")
    assert result.stderr.count("\n") == 1


def test_a_killed_worker_is_one_line() -> None:
    result = sent("killed")
    assert result.returncode == 2
    assert result.stderr == f"error: {KILLED_LOADER}\n"


def test_a_worker_that_is_killed_between_epochs_ends_the_second_and_interrupts_nothing_before() -> None:
    rows = fixed_loader(Rows(), 10, 2)
    assert len(list(rows)) == 10
    for process in active_children():
        process.kill()
        process.join()
    time.sleep(0.1)  # a signal handler that raises would do so here
    with pytest.raises(RuntimeError, match="exited unexpectedly") as raised:
        list(rows)
    assert str(limit(raised.value)) == KILLED_LOADER


@pytest.mark.parametrize("error", [EOFError(), ConnectionResetError(), ConnectionRefusedError()])
def test_a_worker_that_is_killed_while_its_batch_is_fetched_is_one_line(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(_: object) -> None:
        raise error

    monkeypatch.setattr(_MultiProcessingDataLoaderIter, "_get_data", fails)
    with pytest.raises(UserError, match="a loader process was killed"):
        list(fixed_loader(Rows(), 10, 2))


@pytest.mark.parametrize("ranks", [1, 3])
def test_no_batch_is_larger_than_its_sampler_says(ranks: int) -> None:
    labels = np.arange(50) % 5
    samplers: list[BatchSampler] = [
        NaturalSampler(50, 20, 0),
        NaturalSampler(5, 20, 0),
        PKSampler(labels, 4, 6, 0),
        WithUnlabelled(PKSampler(labels, 4, 6, 0), 50, 37, 0),
    ]
    for sampler in samplers[: 4 if ranks == 1 else None]:
        for rank in range(ranks):
            if sampler.batch_size < 2 * ranks:
                continue
            sampler.take_share(rank, ranks)
            largest = max(len(batch) for batch in sampler)
            assert largest <= sampler.largest <= largest + 3


def test_datasets_tell_the_bytes_of_their_rows(tmp_path: Path) -> None:
    from supcon.images.augment.recipes import ranges_of
    from supcon.images.augment.single import RandomView
    from supcon.images.augment.views import prediction_views
    from supcon.training.data import Canvases, FixedViews, TrainingViews
    from tests.training.test_data import cache_of

    cache, rows, labels = cache_of(tmp_path), np.arange(12), np.arange(12) % 3
    augment = AugmentSettings(hflip=True, crop=0.5)
    transforms = [RandomView(augment, side, "squash", 1.0) for side in (16, 32)]
    views = TrainingViews(cache, rows, labels, transforms, 2, 0)
    canvases = Canvases(cache, rows, labels, ranges_of(augment, 1.0), [16, 32], "squash", 2, 0)
    fixed = FixedViews(cache, rows, prediction_views(augment, 2), 20, "squash")
    last = [(row, 0, 1) for row in range(3)]  # of the epoch of the larger images
    made = {
        views: views.__getitems__(last)[0],
        canvases: canvases.__getitems__(last)[0],
        fixed: fixed.__getitems__([0, 1, 2]),
    }
    for dataset, batch in made.items():
        assert dataset.row_bytes == batch.nbytes / 3  # type: ignore[attr-defined]
    sampler = NaturalSampler(12, 4, 0)
    assert training_loader(views, sampler, 0).num_workers == 0
