"""A whole line whose random views are made in batches on the training device."""

import dataclasses
from pathlib import Path

import cv2
import numpy as np
import pytest

from supcon.errors import UserError
from supcon.training.loop import train
from tests.conftest import run_stage
from tests.stages.test_laws import prediction_bytes, run_folder

ON_DEVICE = ("--augment.on_device=true", "--augment.crop=0.6", "--augment.color=0.2", "--augment.blur=0.2")


def test_it_runs_through_and_depends_neither_on_workers_nor_on_a_stop(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--fold=1", "--finetune.epochs=3", *ON_DEVICE)
    run_stage("make_folds", root)
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, root, *flags)
    uninterrupted = prediction_bytes(root, 1)
    run_folder(root).rename(root / "uninterrupted")
    for stage in ("pretrain", "finetune"):
        monkeypatch.setattr("supcon.training.loop.train", stopped_in_its_second_epoch)
        with pytest.raises(KeyboardInterrupt):
            run_stage(stage, root, *flags)
        monkeypatch.undo()
        assert (run_folder(root) / "fold1" / f"{stage}.checkpoint.pt").exists()
        run_stage(stage, root, *flags, "--machine.workers=1")
    run_stage("predict", root, *flags)
    assert prediction_bytes(root, 1) == uninterrupted


def stopped_in_its_second_epoch(training, plan):  # type: ignore[no-untyped-def]
    class Stopping:
        epochs = 0

        def __iter__(self):  # type: ignore[no-untyped-def]
            Stopping.epochs += 1
            for number, batch in enumerate(training.loader):
                if Stopping.epochs == 2 and number == 1:
                    raise KeyboardInterrupt
                yield batch

    return train(dataclasses.replace(training, loader=Stopping()), plan)


@pytest.mark.parametrize(
    "flags",
    [
        ("--pretrain.views=2", "--pretrain.use_test=true", "--pretrain.micro_batch=7"),
        ("--pretrain.mixup=0.5", "--finetune.cutmix=1", "--finetune.views=2", "--data.fit=crop"),
        ("--data.fit=pad", "--augment.rotate=20", "--augment.erase=0.5", "--finetune.batches=pk"),
    ],
    ids=lambda flags: flags[0].removeprefix("--"),
)
def test_every_way_of_training_and_images_of_any_shape_go_with_it(root: Path, flags: tuple[str, ...]) -> None:
    draw = np.random.default_rng(0)
    for path in sorted((root / "input" / "train").iterdir())[:20]:
        height, width = draw.integers(14, 60, size=2)
        cv2.imwrite(str(path), cv2.resize(np.asarray(cv2.imread(str(path))), (int(width), int(height))))
    run_stage("make_folds", root)
    for stage in ("pretrain", "finetune"):
        run_stage(stage, root, "--fold=0", "--pretrain.epochs=1", "--finetune.epochs=2", *ON_DEVICE, *flags)
    assert (run_folder(root) / "fold0" / "classifier.safetensors").exists()


def test_it_is_part_of_the_fingerprint(root: Path) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", "--pretrain.epochs=1")
    with pytest.raises(UserError, match=r"augment\.on_device False -> True"):
        run_stage("pretrain", root, "--fold=0", "--pretrain.epochs=1", "--augment.on_device=true")
