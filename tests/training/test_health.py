"""Each kind of trouble is reported once with its cure, and again only if it lasts to the end."""

import pytest

from supcon.training.health import Health

FINE = {"floor": 1.0, "collapse": 4.0, "valid": 1.0}


Batches = list[tuple[float, dict[str, float]]]


def watch(epochs: list[Batches], stage: str = "pretrain", planned: int = 9) -> list[str]:
    lines: list[str] = []
    health = Health(stage, f"{stage} fold 0", planned, lines.append)
    for number, batches in enumerate(epochs):
        for loss, metrics in batches:
            health.batch({"loss": loss, **metrics})
        health.epoch(number)
    health.end()
    return lines


def test_a_healthy_stage_and_one_without_contrast_say_nothing() -> None:
    assert watch([[(3.9, FINE)], [(2.0, FINE)]]) == []
    assert watch([[(4.0, {})], [(4.0, {})]]) == []


def test_a_loss_that_stays_at_that_of_equal_embeddings_is_collapse() -> None:
    assert watch([[(4.0, FINE)]]) == []  # the first epoch may still be there
    (line,) = watch([[(4.0, FINE)], [(4.01, FINE), (3.98, FINE)], [(2.0, FINE)]])
    assert line.startswith("pretrain fold 0: the contrastive loss of epoch 2, 3.995, is that of equal embeddings (4): ")
    assert "--train.warmup" in line
    assert "--pretrain.lr" in line
    first, last = watch([[(4.0, FINE)]] * 4)
    assert last == first.replace("epoch 2", "epoch 4").replace("0: the", "0: to the end, the")


def test_a_stages_only_epoch_is_judged() -> None:
    first, last = watch([[(4.0, FINE)]], planned=1)
    assert "the contrastive loss of epoch 1, 4, is that of equal embeddings (4): " in first
    assert "to the end" in last


@pytest.mark.parametrize(
    ("stage", "cure"), [("pretrain", "--batches.classes_per_batch"), ("finetune", "--finetune.batch_size")]
)
def test_batches_without_negatives_are_named_with_the_cure(stage: str, cure: str) -> None:
    lone = {"floor": 2.079442, "collapse": 2.0794424, "valid": 1.0}  # equal but for rounding
    first, last = watch([[(2.0794, lone)]] * 3, stage)
    assert "no image of epoch 1 had a negative in its batch" in first
    assert cure in first
    assert "to the end, no image of epoch 3 had a negative in its batch" in last
    assert watch([[(2.0794, lone), (2.0, FINE)]], stage) == []  # a memory is still empty at the first batch


def test_where_floor_and_collapse_meet_nothing_is_called_collapse() -> None:
    assert watch([[(4.0, {**FINE, "floor": 3.999})], [(3.9995, {**FINE, "floor": 3.999})]]) == []


@pytest.mark.parametrize(("stage", "cure"), [("pretrain", "--pretrain.views"), ("finetune", "--finetune.views")])
def test_batches_without_positives_are_named_with_the_cure(stage: str, cure: str) -> None:
    none = {"floor": 0.0, "collapse": 0.0, "valid": 0.0}
    (line,) = watch([[(0.0, none), (2.0, FINE), (0.0, none)], [(2.0, FINE)]], stage)
    assert "no image of a batch had a positive" in line
    assert cure in line
    (line,) = watch([[(2.0, FINE), (2.0, {**FINE, "valid": 0.4}), (2.0, {**FINE, "valid": 0.01})], [(2.0, FINE)]])
    assert "only 47% of the images had a positive" in line
    assert len(watch([[(0.0, none)]] * 3)) == 2


def test_a_loss_below_its_floor_is_named() -> None:
    (line,) = watch([[(0.5, FINE)], [(2.0, FINE)]])
    assert "0.5 is below its floor 1, which cannot be" in line
    assert watch([[(0.995, FINE)]]) == []  # rounding


def test_the_joint_stage_is_judged_by_its_contrastive_term() -> None:
    assert watch([[(0.5, {**FINE, "contrastive": 2.0})]], "finetune") == []
    first, _ = watch([[(9.0, {**FINE, "contrastive": 4.0})]] * 2, "finetune")
    assert "--finetune.encoder_lr" in first
