"""Contrastive pre-training, then fine-tuning: what the second stage takes over from the first."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from supcon.errors import UserError
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.predictions import read_embeddings
from supcon.settings import parse
from supcon.training.build import classifier_training, contrastive_training
from supcon.training.loop import Training
from supcon.training.objectives import StageObjective
from tests.conftest import REPOSITORY, TINY, run_stage
from tests.stages.test_laws import run_folder

BOTH = ("--pretrain.cross_entropy_weight=1", "--finetune.epochs=4")
FROZEN = ("--finetune.mode=linear", "--finetune.contrastive_weight=0")
CPU = torch.device("cpu")


def experiment_of(root: Path, *flags: str) -> Experiment:
    config = str(REPOSITORY / "configs/cross_entropy.yaml")
    return load_experiment(parse(None, ["--root", str(root), "--config", config, *TINY, *flags]))


def finetuning(root: Path, *flags: str) -> Training:
    """What `finetune --fold 0` with these flags begins with."""
    pretrained = run_folder(root) / "fold0" / "encoder.safetensors"
    return classifier_training(experiment_of(root, *flags), 0, CPU, pretrained)


@pytest.fixture
def pretrained(root: Path) -> Path:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", *BOTH)
    return root


def weight_of(training: Training) -> torch.Tensor:
    return dict(training.model["classifier"].named_parameters())["1.weight"].detach()


def test_finetune_goes_on_with_the_encoder_the_heads_and_the_classifier_of_pretrain(pretrained: Path) -> None:
    stored = load_file(run_folder(pretrained) / "fold0" / "encoder.safetensors")
    state = finetuning(pretrained, *BOTH).model.state_dict()
    assert {name.split(".")[0] for name in stored} == {"encoder", "projection", "classifier"}
    assert stored.keys() == state.keys()
    assert all(torch.equal(stored[name], state[name]) for name in stored)


def test_a_fresh_head_is_drawn_anew_and_a_fitted_one_knows_the_training_rows(pretrained: Path) -> None:
    weights = [weight_of(finetuning(pretrained, *BOTH, f"--finetune.head={head}")) for head in ("fresh", "carried")]
    assert not torch.equal(*weights)
    fitted = finetuning(pretrained, *BOTH, "--finetune.head=fitted", *FROZEN)
    features, labels = zip(*((views[:, 0], labels) for views, labels in fitted.loader), strict=True)
    with torch.no_grad():
        logits = fitted.model["classifier"].eval()(torch.cat(features))
    assert (logits.argmax(dim=1) == torch.cat(labels)).float().mean() > 0.9


def test_without_cross_entropy_in_pretrain_the_classifier_is_drawn_anew(root: Path) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", "--finetune.epochs=4")
    stored = load_file(run_folder(root) / "fold0" / "encoder.safetensors")
    assert {name.split(".")[0] for name in stored} == {"encoder", "projection"}
    training = finetuning(root, "--finetune.epochs=4")
    assert torch.equal(
        training.model["encoder"].state_dict()["backbone.conv1.0.weight"], stored["encoder.backbone.conv1.0.weight"]
    )


def test_the_control_without_contrast_has_no_projection_and_one_with_contrast_after_it_begins_one(root: Path) -> None:
    control = ("--pretrain.contrastive_weight=0", *BOTH)
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", *control)
    stored = load_file(run_folder(root) / "fold0" / "encoder.safetensors")
    assert {name.split(".")[0] for name in stored} == {"encoder", "classifier"}
    assert "projection" in finetuning(root, *control).model


@pytest.mark.parametrize("one_schedule", ["true", "false"])
def test_the_learning_rate_goes_on_where_it_stopped_or_each_stage_has_its_own(root: Path, one_schedule: str) -> None:
    flags = (*BOTH, "--finetune.encoder_lr=0.002", "--pretrain.lr=0.002", f"--train.one_schedule={one_schedule}")
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0", *flags)
    rates: list[list[float]] = []
    for training in (contrastive_training(experiment_of(root, *flags), 0, CPU), finetuning(root, *flags)):
        rates.append([])
        for step in range(len(training.sampler) * (2 if len(rates) == 1 else 4)):
            training.schedule.set(step)
            rates[-1].append(training.optimizer.param_groups[0]["lr"])
    first, second = rates
    if one_schedule == "true":
        joined = [*first, *second]
        top = joined.index(max(joined))
        assert joined == [*joined[:top], *sorted(joined[top:], reverse=True)]
        assert max(second) < max(first) == 0.002
    else:
        assert max(first) == max(second) == 0.002


def stopped_at(last: int) -> Callable[..., Any]:
    steps, backward = iter(range(last)), StageObjective.backward

    def stopped(*given: Any) -> Any:
        if next(steps, None) is None:
            raise KeyboardInterrupt
        return backward(*given)

    return stopped


@pytest.mark.parametrize("stage", ["pretrain", "finetune"])
def test_a_stage_of_two_that_is_stopped_ends_like_an_uninterrupted_one(
    root: Path, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def play(name: str) -> None:
        run_stage(name, root, "--fold=0", "--pretrain.epochs=4", "--train.optimizer=muon", *BOTH)

    def result() -> bytes:
        return (run_folder(root) / "fold0" / "classifier.safetensors").read_bytes()

    run_stage("make_folds", root)
    play("pretrain")
    play("finetune")
    uninterrupted = result()
    run_folder(root).rename(root / "uninterrupted")

    for name in ("pretrain", "finetune"):
        if name == stage:
            with monkeypatch.context() as patched:
                patched.setattr(StageObjective, "backward", stopped_at(6))
                with pytest.raises(KeyboardInterrupt):
                    play(name)
        play(name)
    assert result() == uninterrupted


def test_a_frozen_encoder_that_saw_no_contrast_is_predicted_with_and_has_no_projections(root: Path) -> None:
    flags = ("--fold=0", "--pretrain.contrastive_weight=0", "--pretrain.cross_entropy_weight=1", *FROZEN)
    run_stage("make_folds", root)
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, root, *flags)
    assert read_embeddings(run_folder(root) / "fold0").projections is None


@pytest.mark.parametrize(("flag", "line"), [("memory=9", "set it to 0"), ("use_test=true", "set it to false")])
def test_what_joins_contrast_alone_is_refused_without_it(root: Path, flag: str, line: str) -> None:
    with pytest.raises(UserError, match=line):
        experiment_of(
            root, "--pretrain.contrastive_weight=0", "--pretrain.cross_entropy_weight=1", f"--pretrain.{flag}"
        )
