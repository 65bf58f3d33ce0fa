"""KeyQueue and unlabelled test images within a whole stage: resumed alike, and part of its fingerprint."""

import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import torch

from supcon.errors import UserError
from supcon.training.key_queue import KeyQueue
from tests.conftest import run_stage
from tests.stages.test_laws import run_folder

MEMORY = (
    "--fold=0",
    "--pretrain.epochs=4",
    "--pretrain.memory=40",
    "--pretrain.micro_batch=6",
    "--model.drop_path=0.2",
)


def encoder_bytes(root: Path) -> bytes:
    return (run_folder(root) / "fold0" / "encoder.safetensors").read_bytes()


def test_a_stage_with_a_memory_that_is_stopped_ends_like_an_uninterrupted_one(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, *MEMORY)
    uninterrupted = encoder_bytes(root)
    run_folder(root).rename(root / "uninterrupted")

    enqueue, batches = KeyQueue.enqueue, iter(range(9))  # 4 batches an epoch: in the midst of the third

    def stopped(memory: KeyQueue, *rest: Any) -> None:
        if next(batches, None) is None:
            raise KeyboardInterrupt
        enqueue(memory, *rest)

    monkeypatch.setattr(KeyQueue, "enqueue", stopped)
    with pytest.raises(KeyboardInterrupt):
        run_stage("pretrain", root, *MEMORY)
    monkeypatch.undo()
    checkpoint = torch.load(run_folder(root) / "fold0" / "pretrain.checkpoint.pt", weights_only=True)
    assert checkpoint["objective"]["memory"]["keys"].shape == (40, 128)
    run_stage("pretrain", root, *MEMORY)
    assert encoder_bytes(root) == uninterrupted


def test_passes_count_gradcache_memory_and_the_test_images(root: Path) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, *MEMORY, "--pretrain.epochs=1", "--pretrain.use_test=true", "--pretrain.views=2")
    row = pd.read_csv(run_folder(root) / "fold0" / "pretrain.csv").iloc[0]
    # 40 training rows in batches of 12 are 4 batches; 12 test images; two views; two extra forward passes
    assert row["passes"] == (4 * 12 + 12) * 2 * 5 // 3
    assert row["valid"] == pytest.approx(1)


def test_each_test_image_is_a_class_of_its_own_and_with_one_view_a_negative_only(root: Path) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", "--pretrain.epochs=1", "--pretrain.use_test=true")
    row = pd.read_csv(run_folder(root) / "fold0" / "pretrain.csv").iloc[0]
    # 12 training rows and 3 test images a batch; 4 images a class: their floor is that of three positives
    assert row["floor"] == pytest.approx(math.log(3), abs=1e-6)
    assert row["collapse"] == pytest.approx(math.log(12 + 3 - 1))
    assert row["passes"] == 4 * (12 + 3)
    assert row["valid"] == 1  # of the training rows: the others are no anchors


def change_a_test_image(root: Path) -> None:
    pixels = np.random.default_rng(1).integers(0, 255, (18, 20, 3)).astype(np.uint8)
    cv2.imwrite(str(root / "input" / "test" / "b003.png"), pixels)


def test_changed_test_images_matter_to_pre_training_only_where_it_uses_them(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", "--run=without")
    run_stage("pretrain", root, "--fold=0", "--run=with", "--pretrain.use_test=true")
    change_a_test_image(root)
    run_stage("pretrain", root, "--fold=0", "--run=without")
    assert "done already" in capsys.readouterr().out
    with pytest.raises(UserError, match="test images changed"):
        run_stage("pretrain", root, "--fold=0", "--run=with")


def test_test_images_change_the_encoder_and_never_reach_the_classifier(root: Path) -> None:
    run_stage("make_folds", root)
    encoders = []
    for attempt in ("first", "second"):
        run_stage("pretrain", root, "--fold=0", "--pretrain.use_test=true")
        encoders.append(encoder_bytes(root))
        run_folder(root).rename(root / attempt)
        change_a_test_image(root)
    assert encoders[0] != encoders[1]
    run_stage("pretrain", root, "--fold=0", "--pretrain.use_test=true")
    run_stage("finetune", root, "--fold=0", "--pretrain.use_test=true")
    passes = pd.read_csv(run_folder(root) / "fold0" / "finetune.csv")["passes"]
    assert (passes == 48).all()  # 40 rows in batches of 24
