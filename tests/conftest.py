"""A small competition that trains in seconds, and stages run in this process."""

import importlib
import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from filelock import FileLock

from supcon.storage.files import read_checked_json, sha256_file, write_checked_json
from supcon.storage.processes import available_cores

REPOSITORY = Path(__file__).resolve().parents[1]
TINY = [
    "--data.folds=3", "--data.image_size=16", "--data.fit=squash", "--augment.hflip=false", "--augment.shift=0.1",
    "--model.encoder=test_resnet", "--model.pretrained=false", "--train.precision=float32",
    "--pretrain.epochs=2", "--pretrain.contrastive_weight=1", "--pretrain.cross_entropy_weight=0",
    "--pretrain.lr=0.001", "--batches.classes_per_batch=3", "--batches.images_per_class=4", "--batches.size=0",
    "--finetune.epochs=16", "--finetune.batch_size=24", "--finetune.contrastive_weight=0.3",
    "--predict.views=2", "--tune.trials=15", "--tune.bootstrap=100", "--machine.workers=0", "--machine.threads=1",
]  # fmt: skip
STAGE_PAGES = {path.stem for path in (REPOSITORY / "src").glob("*.py")}
STAGES = ("make_folds", "pretrain", "finetune", "predict", "tune", "ensemble")

Stage = Callable[..., None]

# a shell's background jobs ignore ^C, and all that such a pytest starts would: tests send it
signal.signal(signal.SIGINT, signal.default_int_handler)


def write_competition(folder: Path, labels: Sequence[str], test_rows: int = 12, seed: int = 0) -> None:
    """Write a competition of coloured noise whose mean colour tells the class."""
    draw = np.random.default_rng(seed)
    for part in ("train", "test"):
        (folder / part).mkdir(parents=True)
    names = sorted(set(labels))
    colour = {name: draw.integers(40, 215, size=3) for name in names}

    def image(path: Path, label: str) -> None:
        noise = draw.normal(0, 30, size=(18, 20, 3))
        cv2.imwrite(str(path), np.clip(colour[label] + noise, 0, 255).astype(np.uint8))

    train_lines, test_lines, solution = ["id,label"], ["id,label"], ["id,label"]
    for number, label in enumerate(labels):
        image(folder / "train" / f"a{number:03d}.png", label)
        train_lines.append(f"a{number:03d},{label}")
    for number in range(test_rows):
        label = names[number % len(names)]
        image(folder / "test" / f"b{number:03d}.png", label)
        test_lines.append(f"b{number:03d},{names[0]}")
        solution.append(f"b{number:03d},{label}")
    for name, lines in (("train", train_lines), ("sample_submission", test_lines), ("solution", solution)):
        (folder / f"{name}.csv").write_text("\n".join(lines) + "\n")


def run_stage(name: str, root: Path, *flags: str) -> None:
    """Run a stage in this process with the tiny settings; later flags win."""
    module = importlib.import_module(name if name in STAGE_PAGES else f"supcon.commands.{name}")
    module.main(["--root", str(root), "--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *TINY, *flags])


def run_all(root: Path, *flags: str) -> None:
    """Run the whole line."""
    for name in STAGES:
        run_stage(name, root, *flags)


def run_command(script: str, root: Path, *flags: str, **kwargs: object) -> "subprocess.CompletedProcess[str]":
    """Run a stage as a user does, in a process of its own, with the tiny settings."""
    page = [str(REPOSITORY / f"src/{script}.py")] if script in STAGE_PAGES else ["-m", f"supcon.commands.{script}"]
    command = [sys.executable, *page, "--root", str(root)]
    command += ["--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *TINY, *flags]
    return subprocess.run(command, capture_output=True, text=True, check=False, **kwargs)  # type: ignore[call-overload]


def accept_changes(folder: Path) -> None:
    """Let the done.json below `folder` take what a test has changed for what the stages wrote."""
    for done_file in folder.rglob("*.done.json"):
        content = read_checked_json(done_file)
        for name in content["files"]:
            if (path := done_file.parent / name).is_file():
                content["files"][name] = {"bytes": path.stat().st_size, "sha256": sha256_file(path)}
        write_checked_json(done_file, content)


def change_done(path: Path, **changes: object) -> None:
    """Change what a done.json holds, as another run of its stage would: `hash` stands for other weights or rows."""
    write_checked_json(path, {**read_checked_json(path), **changes})


@pytest.hookimpl(optionalhook=True)  # of pytest-xdist, which a run may leave out
def pytest_xdist_auto_num_workers() -> int:
    """Return how many workers `-n auto` is: more than eight wait for one another's long tests."""
    return min(available_cores(), 8)


@pytest.fixture(autouse=True)
def _streams() -> None:
    """Start every test from the same random streams, whatever ran before it and wherever."""
    random.seed(0)
    np.random.seed(0)
    torch.manual_seed(0)


def built_once(factory: pytest.TempPathFactory, name: str, build: Callable[[Path], object]) -> Path:
    """Return a folder that `build` has filled: once for all workers of pytest-xdist, of which each has its own copy."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    done = shared.with_name(f"{name}.done")
    with FileLock(shared.with_name(f"{name}.lock")):
        if not done.exists():
            shutil.rmtree(shared, ignore_errors=True)
            shared.mkdir()
            build(shared)
            done.touch()
    return copied_root(shared, factory.mktemp("own") / name)


def copied_root(root: Path, target: Path) -> Path:
    """Copy a root to `target`, which is as finished as it is."""
    shutil.copytree(root, target)
    hashes = target / "cache" / "hashes.csv"  # which know an image by its path
    if hashes.exists():
        hashes.write_text(hashes.read_text().replace(f"{root}/", f"{target}/"))
    return target


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A root whose input/ holds the small competition: 3 classes of 30, 20 and 10 rows."""
    write_competition(tmp_path / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    return tmp_path


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a finished run; tests must not change it."""

    def build(folder: Path) -> None:
        write_competition(folder / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
        run_all(folder)

    return built_once(tmp_path_factory, "finished", build)


os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")
