"""The parts of a training step."""

import math
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from supcon.metrics.counts import macro_f1
from supcon.metrics.embeddings import alignment, uniformity
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings
from supcon.training.loop import Objective, Step
from supcon.training.objectives import StageObjective
from tests.conftest import run_stage

ZEROS = torch.zeros(3)


def test_the_contrastive_weight_moves_linearly() -> None:
    settings = FinetuneSettings(contrastive_weight=0.4, contrastive_weight_end=0.0)
    weights = [settings.weights(part) for part in (0, 0.5, 1)]
    assert [contrast for _, contrast in weights] == pytest.approx([0.4, 0.2, 0.0])
    assert {cross_entropy for cross_entropy, _ in weights} == {1.0}


def _model() -> nn.ModuleDict:
    flat = nn.Sequential(nn.Flatten(), nn.Linear(12, 5))

    class Float(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            result: torch.Tensor = flat(x.float() / 255)
            return result

    return nn.ModuleDict({"encoder": Float(), "classifier": nn.Linear(5, 3), "projection": nn.Linear(5, 4)})


def _objective(adjustment: torch.Tensor = ZEROS, **settings: Any) -> StageObjective:
    return StageObjective(FinetuneSettings(**settings), ContrastSettings(), adjustment, None)


def watching(stage: str, held_out: torch.Tensor, labels: torch.Tensor, weight: float = 1.0) -> Objective:
    monitor = lambda encoder: (held_out, labels)  # noqa: E731
    if stage == "pretrain":
        return StageObjective(PretrainSettings(), ContrastSettings(), torch.zeros(3), monitor)
    return StageObjective(FinetuneSettings(contrastive_weight=weight), ContrastSettings(), torch.zeros(3), monitor)


def test_the_adjustment_is_added_to_the_logits_in_training() -> None:
    model, views, labels = _model(), torch.randint(0, 256, (6, 2, 2, 2, 3)), torch.tensor([0, 1, 2, 0, 1, 2])
    plain, _ = _objective().backward(model, views, labels, Step(0.0, 0, nullcontext))
    prior = torch.tensor([0.7, 0.2, 0.1]).log()
    adjusted, _ = _objective(prior).backward(model, views, labels, Step(0.0, 0, nullcontext))
    logits = model["classifier"](model["encoder"](views.flatten(0, 1)))
    both = labels.repeat_interleave(2)
    torch.testing.assert_close(plain, nn.functional.cross_entropy(logits, both))
    torch.testing.assert_close(adjusted, nn.functional.cross_entropy(logits + prior, both))


def test_the_contrastive_term_is_added_with_its_weight_and_trains_the_projection() -> None:
    model, views, labels = _model(), torch.randint(0, 256, (6, 2, 2, 2, 3)), torch.tensor([0, 1, 2, 0, 1, 2])
    loss, metrics = _objective(contrastive_weight=0.5, contrastive_weight_end=0.5).backward(
        model, views, labels, Step(0.3, 0, nullcontext)
    )
    assert loss.item() == pytest.approx(float(metrics["cross_entropy"] + 0.5 * metrics["contrastive"]), rel=1e-5)
    assert model["projection"].weight.grad.abs().sum() > 0  # type: ignore[union-attr, operator]


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_the_geometry_that_is_watched_is_of_held_out_projections_as_at_prediction(stage: str) -> None:
    model, views, labels = _model(), torch.randint(0, 256, (6, 1, 2, 2, 3)), torch.tensor([0, 1, 2, 0, 1, 2])
    model["projection"] = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    held_out, held_out_labels = torch.randn(20, 5), torch.arange(20) % 3
    objective = watching(stage, held_out, held_out_labels)
    objective.backward(model.train(), views, labels, Step(0.0, 0, nullcontext))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    metrics = objective.end_of_epoch(model)
    with torch.no_grad():
        embeddings = model["projection"].eval()(held_out)
    assert metrics["alignment"] == pytest.approx(alignment(embeddings, held_out_labels))
    assert metrics["uniformity"] == pytest.approx(uniformity(embeddings))
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())


def test_without_a_contrastive_term_the_held_out_score_alone_is_watched_as_at_prediction() -> None:
    model, held_out, labels = _model(), torch.randn(40, 5), torch.arange(40) % 3
    model["classifier"] = nn.Sequential(nn.Dropout(0.9), nn.Linear(5, 3))
    metrics = watching("finetune", held_out, labels, weight=0.0).end_of_epoch(model.train())
    predicted = model["classifier"][1](held_out).argmax(dim=1)  # type: ignore[index]
    assert metrics == {"held_out_macro_f1": pytest.approx(macro_f1(labels.numpy(), predicted.numpy(), 3))}


@pytest.mark.parametrize("kind", ["mixup", "cutmix"])
def test_mixed_images_train_on_mixed_labels(kind: str) -> None:
    model, views, labels = _model(), torch.randint(0, 256, (7, 1, 2, 2, 3)), torch.arange(7) % 3
    settings: dict[str, Any] = {kind: 1.0}
    loss, _ = _objective(**settings).backward(model, views, labels, Step(0.0, 0, nullcontext))
    assert math.isfinite(loss.item())


@pytest.mark.parametrize(
    "flags",
    [
        ("--finetune.mode=linear", "--finetune.contrastive_weight=0", "--data.test_size=20"),
        ("--finetune.mode=mlp", "--finetune.contrastive_weight=0", "--model.dropout=0.2"),
        ("--finetune.batches=pk", "--finetune.views=2", "--finetune.ema=0"),
        ("--finetune.mixup=0.4", "--finetune.cutmix=1", "--finetune.contrastive_weight=0"),
        ("--finetune.cutmix=1", "--finetune.micro_batch=9", "--pretrain.mixup=0.5", "--pretrain.micro_batch=5"),
        ("--contrast.form=balanced", "--contrast.prototypes=true", "--pretrain.mixup=0.3"),
        ("--pretrain.memory=30", "--pretrain.momentum=0.9", "--pretrain.use_test=true", "--pretrain.cutmix=1"),
        ("--pretrain.use_test=true", "--pretrain.views=2", "--pretrain.micro_batch=7", "--pretrain.memory=20"),
        ("--pretrain.epochs=0", "--finetune.layer_decay=0.7", "--model.drop_path=0.1"),
        ("--model.encoder=test_vit", "--pretrain.epochs=0", "--data.image_size=32", "--data.test_size=48"),
        ("--contrast.projection=linear",),
        ("--contrast.projection_layers=3", "--contrast.projection_norm=true", "--contrast.projection_hidden=24"),
        ("--contrast.form=in", "--pretrain.views=2", "--pretrain.ema=0", "--data.test_size=24", "--data.fit=pad"),
        ("--train.precision=float16", "--finetune.micro_batch=9"),
        (
            "--train.precision=bfloat16",
            "--data.image_size=32",
            "--finetune.label_smoothing=0.1",
            "--finetune.logit_adjustment=1",
        ),
    ],
    ids=lambda flags: flags[0].removeprefix("--"),
)
def test_every_way_of_training_runs_through(root: Path, flags: tuple[str, ...]) -> None:
    run_stage("make_folds", root)
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, root, "--fold=0", "--finetune.epochs=2", *flags)
    folder = root / "runs" / "cross_entropy" / "fold0"
    assert (folder / "oof.npz").exists()
    assert (folder / "finetune.csv").read_text().count("\n") == 1 + 2
    assert not list(folder.glob("*.checkpoint.pt"))
