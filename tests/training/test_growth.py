"""Images that grow through the epochs."""

from pathlib import Path

import pytest
import torch

from supcon.errors import UserError
from supcon.run.experiment import load_experiment
from supcon.settings import parse
from supcon.settings.settings import ModelSettings
from supcon.training.build import contrastive_training
from supcon.training.fold import FoldData
from supcon.training.growth import growing_sides, growing_step, image_sides
from supcon.training.model.encoder import Encoder
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
    assert growing_sides(first, last, epochs, growing_step(1)) == sides


@pytest.mark.parametrize(("patch", "step"), [(1, 16), (2, 16), (4, 16), (8, 16), (16, 16), (32, 32), (14, 14), (7, 14)])
def test_steps_are_of_whole_patches_and_of_sixteen_where_these_allow_it(patch: int, step: int) -> None:
    assert growing_step(patch) == step
    sides = growing_sides(7 * patch, 28 * patch, 12, step)
    assert all(side % patch == 0 for side in sides)
    assert sides[0] >= 7 * patch
    assert sides[-1] == 28 * patch
    assert len(set(sides)) > 1


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
    assert [image_sides(settings, "pretrain", 16), image_sides(settings, "finetune", 16)] == [pretrain, finetune]


GROWING = ("--data.image_size=48", "--train.first_size=16", "--finetune.epochs=4", "--train.one_schedule=false")


@pytest.mark.parametrize("on_device", ["true", "false"])
def test_a_batch_has_the_side_of_its_epoch(root: Path, on_device: str) -> None:
    run_stage("make_folds", root, *GROWING)
    flags = [*TINY, *GROWING, f"--augment.on_device={on_device}"]
    request = parse("", ["--root", str(root), "--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *flags])
    data = FoldData(load_experiment(request), 0, torch.device("cpu"))
    expected = [16, 30, 48, 48]
    sampler = data.classifier_sampler()
    loader, sides = data.classifier_loader(sampler, expected), []
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


@pytest.mark.parametrize(
    ("encoder", "patch"),
    [
        ("test_vit", 16),
        ("vit_tiny_patch16_224", 16),
        ("eva02_tiny_patch14_224", 14),
        ("swin_tiny_patch4_window7_224", 4),
        ("test_resnet", 1),
        ("pvt_v2_b0", 1),  # patches of 7 that overlap, at steps of 4
    ],
)
def test_an_encoder_says_which_patches_it_cuts_images_into(encoder: str, patch: int) -> None:
    side = 56 if patch == 14 else 64
    assert Encoder(ModelSettings(encoder=encoder, pretrained=False), side, load_weights=False).patch == patch


def test_images_grow_in_whole_patches_in_every_stage(root: Path) -> None:
    patches = ("--model.encoder=eva02_tiny_patch14_224", '--model.kwargs={"depth": 1}', "--data.image_size=56")
    growing = (*patches, "--train.first_size=28", "--finetune.epochs=2", "--pretrain.epochs=1", "--fold=0")
    run_stage("make_folds", root, *patches)
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, root, *growing)
    experiment = load_experiment(parse("", ["--root", str(root), "--run", "cross_entropy"], per_fold=True))
    training = contrastive_training(experiment, 0, torch.device("cpu"))
    assert training.encoder.patch == 14
    assert {views.shape[2] for views, _ in training.loader} == {28}


def test_images_that_would_shrink_are_refused(root: Path) -> None:
    with pytest.raises(UserError, match="--train.first_size 64: images grow to --data.image_size 48"):
        run_stage("finetune", root, *GROWING, "--train.first_size=64")
