"""Images that grow through the epochs."""

from pathlib import Path

import pytest
import torch

from supcon.errors import UserError
from supcon.run.experiment import load_experiment
from supcon.settings import parse
from supcon.training.data import growing_sides
from supcon.training.fold import FoldData, image_sides
from tests.conftest import REPOSITORY, TINY, run_stage


@pytest.mark.parametrize(("first", "last", "epochs", "sides"), [
    (0, 128, 3, [128, 128, 128]),
    (64, 128, 1, [128]),  # no time to grow
    (64, 128, 2, [64, 128]),
    (64, 128, 6, [64, 96, 112, 128, 128, 128]),
    (100, 128, 4, [112, 128, 128, 128]),
    (128, 128, 4, [128, 128, 128, 128]),
])  # fmt: skip
def test_sides_grow_by_sixteens_and_the_last_third_has_the_last(
    first: int, last: int, epochs: int, sides: list[int]
) -> None:
    assert growing_sides(first, last, epochs) == sides


FROZEN = ["--finetune.mode=linear", "--finetune.contrastive_weight=0", "--finetune.contrastive_weight_end=0"]


@pytest.mark.parametrize(("flags", "pretrain", "finetune"), [
    ([], [64, 96], [112, 128, 128, 128]),  # one growth through both stages, as one learning rate
    (["--train.one_schedule=false"], [64, 128], [64, 96, 128, 128]),
    (FROZEN, [64, 128], [64, 96, 128, 128]),
])  # fmt: skip
def test_stages_of_one_schedule_grow_their_images_together(
    root: Path, flags: list[str], pretrain: list[int], finetune: list[int]
) -> None:
    both = ["--pretrain.epochs=2", "--finetune.epochs=4", "--data.image_size=128", "--train.first_size=64", *flags]
    settings = parse("", ["--root", str(root), *both]).settings
    assert [image_sides(settings, "pretrain"), image_sides(settings, "finetune")] == [pretrain, finetune]


GROWING = ("--data.image_size=48", "--train.first_size=16", "--finetune.epochs=4", "--train.one_schedule=false")


@pytest.mark.parametrize("on_device", ["true", "false"])
def test_a_batch_has_the_side_of_its_epoch(root: Path, on_device: str) -> None:
    run_stage("make_folds", root, *GROWING)
    flags = [*TINY, *GROWING, f"--augment.on_device={on_device}"]
    request = parse("", ["--root", str(root), "--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *flags])
    data = FoldData(load_experiment(request), 0, torch.device("cpu"))
    expected = image_sides(request.settings, "finetune")
    sampler = data.classifier_sampler()
    loader, sides = data.classifier_loader(sampler), []
    for epoch in range(4):
        sampler.set_epoch(epoch)
        sides.append({views.shape[2:4] for views, _ in loader})
    assert sides == [{(side, side)} for side in expected]
    assert sides[0] != sides[-1]


def test_the_whole_of_training_runs_through_and_is_told_apart_by_its_fingerprint(root: Path) -> None:
    run_stage("make_folds", root, *GROWING)
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, root, *GROWING, "--fold", "0")
    with pytest.raises(UserError, match="train.first_size 16 -> 32"):
        run_stage("pretrain", root, *GROWING, "--fold", "0", "--train.first_size=32")


def test_an_encoder_of_one_size_is_refused_in_one_line(root: Path) -> None:
    run_stage("make_folds", root, *GROWING)
    refused = r"--train.first_size 16: vgg11 takes no images of 16 .*: images grow to 48 in steps of 16: use 0"
    with pytest.raises(UserError, match=refused):
        run_stage("finetune", root, *GROWING, "--pretrain.epochs=0", "--model.encoder=vgg11", "--fold", "0")


def test_every_size_that_images_grow_through_is_tried_before_training(root: Path) -> None:
    run_stage("make_folds", root, *GROWING)
    patches = ("--model.encoder=vit_tiny_patch16_224", "--pretrain.epochs=0", "--data.image_size=40")
    with pytest.raises(UserError, match=r"--data.image_size 40: vit_tiny_patch16_224 takes no .*: use 32 or 48"):
        run_stage("finetune", root, *GROWING, *patches)
    with pytest.raises(UserError, match=r"--data.test_size 40: vit_tiny_patch16_224 takes no .*: use 32 or 48"):
        run_stage("finetune", root, *GROWING, *patches, "--data.image_size=48", "--data.test_size=40")
    grown = ("--model.encoder=vit_small_patch14_dinov2", "--data.image_size=56", "--train.first_size=28", "--run=14")
    with pytest.raises(UserError, match=r"--train.first_size 28: vit_small_patch14_dinov2 takes no images of 40"):
        run_stage("finetune", root, *GROWING, "--pretrain.epochs=0", *grown)


def test_images_that_would_shrink_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="--train.first_size 64: images grow to --data.image_size 48"):
        run_stage("finetune", root, *GROWING, "--train.first_size=64")
