"""The batches of a fold's training rows, and the prior that they are drawn with."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
import torch

from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.run.split import Split
from supcon.run.stage import fingerprint
from supcon.run.stages import STAGE
from supcon.settings import Request
from supcon.settings.check import check
from supcon.settings.settings import Settings
from supcon.settings.training import BatchSettings, FinetuneSettings, PretrainSettings, TrainSettings
from supcon.training.fold import FoldData, StageName

LABELS = np.repeat(np.arange(5), [60, 30, 15, 10, 5])
FOLDS = np.arange(120) % 5
STAGES: tuple[StageName, StageName] = ("pretrain", "finetune")


def fold_of(batches: dict[str, Any], finetune: dict[str, Any] | None = None, views: int = 1) -> FoldData:
    settings = Settings(
        batches=BatchSettings(**batches),
        pretrain=PretrainSettings(views=views),
        finetune=FinetuneSettings(**finetune or {}),
    )
    check(settings)
    split = Split(pd.DataFrame({"label": np.array(list("abcde"))[LABELS], "fold": FOLDS}))
    experiment = SimpleNamespace(
        settings=settings,
        split=split,
        training_rows_of=split.training_rows_of,
        open_training_images=lambda: None,
        open_prediction_images=lambda: None,
    )
    return FoldData(cast(Experiment, experiment), 0, torch.device("cpu"))


@pytest.mark.parametrize("balance", [0.0, 0.5, 1.0])
def test_the_sampling_prior_is_how_often_pk_batches_show_each_class(balance: float) -> None:
    data = fold_of({"classes_per_batch": 3, "images_per_class": 4, "balance": balance}, {"batches": "pk"})
    sampler = data.classifier_sampler()
    rows = [sampler.rows_of(*divmod(number, len(sampler))) for number in range(2000)]
    drawn = np.bincount(data.train_labels[np.concatenate(rows)])
    np.testing.assert_allclose(data.batch_prior("finetune"), drawn / drawn.sum(), atol=1e-3)
    assert torch.allclose(data.batch_prior("finetune"), torch.full((5,), 0.2)) == (balance == 1)
    shift = data.natural_prior.log() - data.batch_prior("finetune").log()
    torch.testing.assert_close(data.log_odds_shift, shift)


def test_natural_batches_have_the_natural_prior_whatever_the_balance() -> None:
    assert torch.equal(fold_of({"balance": 0.5}).batch_prior("finetune"), fold_of({}).natural_prior)


@pytest.mark.parametrize(("classes", "size", "images"), [(2, 32, 16), (4, 30, 7), (16, 100, 20), (2, 0, 8)])
def test_images_per_class_follow_the_batch_size(classes: int, size: int, images: int) -> None:
    sampler = fold_of({"classes_per_batch": classes, "size": size}).pk_sampler("pretrain")
    assert (sampler.classes, sampler.images) == (min(classes, 5), images)


def test_a_batch_size_without_positives_is_refused_with_its_cure() -> None:
    with pytest.raises(UserError, match=r"size 9 is less than 2 images of each of the 5 classes.*raise it to 10"):
        fold_of({"size": 9}).pk_sampler("pretrain")
    assert fold_of({"size": 9}, views=2).pk_sampler("pretrain").images == 1
    with pytest.raises(UserError, match=r"batches\.size 4 is less than 1 images.*raise it to 5"):
        fold_of({"size": 4}, views=2).pk_sampler("pretrain")
    joint = {"batches": "pk", "contrastive_weight": 0.5}
    with pytest.raises(UserError, match="raise it to 10"):
        fold_of({"size": 9}, joint, views=2).classifier_sampler()
    assert fold_of({"size": 9}, {"batches": "pk"}).classifier_sampler().batch_size == 5


@pytest.mark.parametrize("change", [{"balance": 0.5}, {"size": 64}])
def test_the_batches_settings_are_part_of_the_fingerprint(change: dict[str, Any]) -> None:
    def fingerprints(batches: str, **settings_of_batches: Any) -> list[dict[str, Any]]:
        settings = Settings(
            batches=BatchSettings(**settings_of_batches), finetune=FinetuneSettings(batches=cast(Any, batches))
        )
        request = cast(Request, SimpleNamespace(settings=settings))
        return [fingerprint(STAGE[stage], request, {}) for stage in ("pretrain", "finetune")]

    for batches in ("pk", "natural"):
        before, after = fingerprints(batches), fingerprints(batches, **change)
        assert before[0] != after[0]
        assert (before[1] != after[1]) == (batches == "pk")


PK = {"classes_per_batch": 5, "images_per_class": 4}


@pytest.mark.parametrize("strength", [0.0, 0.6, 1.0])
@pytest.mark.parametrize("batches", ["natural", "pk"])
def test_the_classifier_means_the_same_in_both_stages_whatever_their_batches(strength: float, batches: str) -> None:
    """The logits and what is added to them are log-odds under the prior of the batches: what is left is the same."""
    data = fold_of(PK, {"batches": batches, "logit_adjustment": strength})
    left = [data.batch_prior(stage).log() - data.logit_adjustment(stage) for stage in STAGES]
    torch.testing.assert_close(left[0], left[1])
    final = data.batch_prior("finetune").log()
    torch.testing.assert_close(data.logit_adjustment("finetune"), strength * final)
    # and natural log-odds minus what predictions add are the classifier's logits too
    torch.testing.assert_close(data.natural_prior.log() - data.log_odds_shift, left[1])


def test_a_fitted_head_is_shifted_from_the_log_odds_of_the_training_rows_to_what_finetune_learns() -> None:
    data = fold_of(PK, {"logit_adjustment": 1.0})
    torch.testing.assert_close(data.fitted_head_shift, -data.natural_prior.log())
    assert torch.equal(fold_of(PK, {"logit_adjustment": 0.0}).fitted_head_shift, torch.zeros(5))


def test_both_stages_know_their_part_of_the_one_schedule() -> None:
    data = fold_of(PK, {"epochs": 3, "batch_size": 32})
    epochs, batches = 10, 5  # of pretrain, whose batches of 20 show 96 rows
    assert data.steps("pretrain") == (0, epochs * batches + 3 * 3)
    assert data.steps("finetune") == (epochs * batches, epochs * batches + 3 * 3)
    frozen = fold_of(PK, {"epochs": 3, "batch_size": 32, "mode": "linear"})
    assert [frozen.steps(stage) for stage in STAGES] == [(0, 50), (0, 9)]


@pytest.mark.parametrize(
    ("change", "of_one_schedule", "of_two"),
    [({"epochs": 7}, True, False), ({"batch_size": 7}, True, False), ({"lr": 0.5}, False, False)],
    ids=["epochs", "batch_size", "lr"],
)
def test_under_one_schedule_pretraining_depends_on_how_long_finetune_is(
    change: dict[str, Any], of_one_schedule: bool, of_two: bool
) -> None:
    def changed(one_schedule: bool) -> bool:
        prints = []
        for finetune in (FinetuneSettings(), FinetuneSettings(**change)):
            settings = Settings(finetune=finetune, train=TrainSettings(one_schedule=one_schedule))
            prints.append(fingerprint(STAGE["pretrain"], cast(Request, SimpleNamespace(settings=settings)), {}))
        return prints[0] != prints[1]

    assert changed(True) == of_one_schedule
    assert changed(False) == of_two
