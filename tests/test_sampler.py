"""What every batch holds, whatever the epoch."""

import numpy as np
import pytest

from supcon.sampler import NaturalSampler, PKSampler, WithUnlabelled

LABELS = np.repeat(np.arange(7), [40, 25, 13, 9, 8, 4, 2])


@pytest.mark.parametrize(("classes", "images"), [(3, 4), (7, 5), (4, 8)])
def test_a_batch_holds_p_classes_and_k_distinct_images_of_each(classes: int, images: int) -> None:
    sampler = PKSampler(LABELS, classes, images, seed=1)
    for number in range(200):
        rows = sampler.rows_of(0, number).reshape(classes, images)
        labels = LABELS[rows]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == classes
        for label, members in zip(labels[:, 0], rows, strict=True):
            assert len(set(members)) == min(images, (label == LABELS).sum())


def test_every_image_is_seen_within_the_stated_number_of_batches() -> None:
    for classes, images in ((3, 4), (7, 5), (4, 8)):
        sampler = PKSampler(LABELS, classes, images, seed=2)
        seen = np.concatenate([sampler.rows_of(0, number) for number in range(sampler.coverage)])
        assert set(seen) == set(range(len(LABELS)))


def test_classes_come_equally_often() -> None:
    sampler = PKSampler(LABELS, 7, 2, seed=0)
    drawn = np.bincount(LABELS[np.concatenate([sampler.rows_of(0, number) for number in range(50)])])
    assert set(drawn) == {100}


def test_more_classes_than_there_are_means_all_of_them() -> None:
    sampler = PKSampler(LABELS, 99, 3, seed=0)
    assert sampler.classes == 7
    assert sampler.batch_size == 21


def test_one_class_is_a_batch_of_its_images() -> None:
    sampler = PKSampler(np.zeros(10, np.int64), 4, 5, seed=0)
    assert len(sampler.rows_of(0, 0)) == 5


def test_natural_batches_show_every_row_once_an_epoch_and_fill_the_last_batch() -> None:
    sampler = NaturalSampler(50, 16, seed=3)
    keys = [key for batch in sampler for key in batch]
    rows = [row for row, _, _ in keys]
    assert len(keys) == 4 * 16
    assert sorted(rows[:50]) == list(range(50))
    assert NaturalSampler(5, 16, seed=0).batch_size == 5


def test_batches_are_a_function_of_seed_epoch_and_number() -> None:
    first, second = PKSampler(LABELS, 3, 4, seed=5), PKSampler(LABELS, 3, 4, seed=5)
    for number in (17, 3, 9):  # in any order
        assert (first.rows_of(2, number) == second.rows_of(2, number)).all()
    assert any((first.rows_of(2, n) != PKSampler(LABELS, 3, 4, seed=6).rows_of(2, n)).any() for n in range(5))
    assert any((first.rows_of(2, n) != first.rows_of(3, n)).any() for n in range(5))


def test_a_row_drawn_twice_in_an_epoch_has_two_occurrences() -> None:
    sampler = PKSampler(np.repeat([0, 1], [40, 3]), 2, 8, seed=0)
    sampler.set_epoch(4)
    keys = [key for batch in sampler for key in batch]
    assert len(set(keys)) == len(keys)
    assert {epoch for _, _, epoch in keys} == {4}
    assert max(occurrence for _, occurrence, _ in keys) > 0


@pytest.mark.parametrize("unlabelled", [1, 7, 100])
def test_unlabelled_rows_join_once_an_epoch_spread_evenly(unlabelled: int) -> None:
    plain = PKSampler(LABELS, 3, 4, seed=5)
    sampler = WithUnlabelled(PKSampler(LABELS, 3, 4, seed=5), len(LABELS), unlabelled, seed=8)
    assert len(sampler) == len(plain)
    orders = []
    for epoch in range(2):
        batches = [sampler.rows_of(epoch, number) for number in range(len(sampler))]
        for number, batch in enumerate(batches):
            assert (batch[: plain.batch_size] == plain.rows_of(epoch, number)).all()
        extra = [batch[plain.batch_size :] for batch in batches]
        assert max(map(len, extra)) - min(map(len, extra)) <= 1
        assert sorted(np.concatenate(extra)) == list(range(len(LABELS), len(LABELS) + unlabelled))
        orders.append(np.concatenate(extra).tolist())
    assert unlabelled == 1 or orders[0] != orders[1]
    again = WithUnlabelled(PKSampler(LABELS, 3, 4, seed=5), len(LABELS), unlabelled, seed=8)
    assert (again.rows_of(1, 2) == sampler.rows_of(1, 2)).all()
