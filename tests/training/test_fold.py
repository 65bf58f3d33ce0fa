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
from supcon.settings.training import BatchSettings, FinetuneSettings, PretrainSettings
from supcon.training.fold import FoldData

LABELS = np.repeat(np.arange(5), [60, 30, 15, 10, 5])
FOLDS = np.arange(120) % 5


def fold_of(batches: dict[str, Any], finetune: dict[str, Any] | None = None, views: int = 1) -> FoldData:
    settings = Settings(
        batches=BatchSettings(**batches),
        pretrain=PretrainSettings(views=views),
        finetune=FinetuneSettings(**finetune or {}),
    )
    check(settings)
    experiment = SimpleNamespace(
        settings=settings,
        split=Split(pd.DataFrame({"label": np.array(list("abcde"))[LABELS], "fold": FOLDS})),
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
    np.testing.assert_allclose(data.sampling_prior, drawn / drawn.sum(), atol=1e-3)
    assert torch.allclose(data.sampling_prior, torch.full((5,), 0.2)) == (balance == 1)
    shift = data.natural_prior.log() - data.sampling_prior.log()
    torch.testing.assert_close(data.log_odds_shift, shift)


def test_natural_batches_have_the_natural_prior_whatever_the_balance() -> None:
    assert torch.equal(fold_of({"balance": 0.5}).sampling_prior, fold_of({}).natural_prior)


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
