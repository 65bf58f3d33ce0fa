"""What every batch holds, whatever the epoch."""

from collections import Counter
from collections.abc import Callable
from itertools import combinations
from math import ceil, floor

import numpy as np
import numpy.typing as npt
import pytest

from supcon.errors import UserError
from supcon.training.sampler import (
    BatchSampler,
    NaturalSampler,
    PKSampler,
    Rounds,
    WithUnlabelled,
    class_chances,
    share_of,
)

LABELS = np.repeat(np.arange(7), [40, 25, 13, 9, 8, 4, 2])
MANY = np.repeat(np.arange(60), np.arange(60) // 4 + 1)  # 60 classes of 1 to 15 images
BALANCES = (0.0, 0.5, 1.0)


def rows_of(sampler: PKSampler, batches: int) -> npt.NDArray[np.int64]:
    return np.stack([sampler.rows_of(*divmod(number, len(sampler))) for number in range(batches)])


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize(("classes", "images"), [(3, 4), (7, 5), (4, 8), (1, 2)])
def test_a_batch_holds_p_classes_and_k_distinct_images_of_each(classes: int, images: int, balance: float) -> None:
    sampler = PKSampler(LABELS, classes, images, seed=1, balance=balance)
    for batch in rows_of(sampler, 200):
        rows = batch.reshape(classes, images)
        labels = LABELS[rows]
        assert (labels == labels[:, :1]).all()
        assert len(set(labels[:, 0])) == classes
        for label, members in zip(labels[:, 0], rows, strict=True):
            assert len(set(members)) == min(images, (label == LABELS).sum())


@pytest.mark.parametrize("balance", BALANCES)
def test_every_image_is_seen_in_at_most_about_twice_the_batches_that_it_takes_on_average(balance: float) -> None:
    for labels, classes, images in ((LABELS, 3, 4), (LABELS, 7, 5), (LABELS, 4, 8), (MANY, 8, 2), (MANY, 59, 3)):
        sampler = PKSampler(labels, classes, images, seed=2, balance=balance)
        sizes = np.bincount(labels)
        fewest = max(np.ceil(sizes / images) / (classes * sampler.class_shares))  # as visits come on average
        enough = floor(2 * fewest) + 4 * ceil(len(sizes) / classes)
        assert set(rows_of(sampler, enough).ravel()) == set(range(len(labels)))


@pytest.mark.parametrize("balance", BALANCES)
def test_the_share_of_images_that_some_epochs_never_show_is_known_beforehand(balance: float) -> None:
    labels = np.repeat(np.arange(100), [800] + [20] * 99)
    sampler = PKSampler(labels, 8, 4, seed=0, balance=balance)
    for epochs in (1, 5, 20):
        shown = len(np.unique(rows_of(sampler, epochs * len(sampler))))
        assert sampler.unseen(epochs) == pytest.approx(1 - shown / len(labels), abs=0.15 if epochs == 1 else 0.01)
        assert WithUnlabelled(sampler, len(labels), 9, seed=0).unseen(epochs) == sampler.unseen(epochs)
    assert (sampler.unseen(5) > 0.2) == (balance == 1)
    assert sampler.unseen(1000) == 0
    assert NaturalSampler(100, 8, seed=0).unseen(1) == 0


@pytest.mark.parametrize(("classes", "batches"), [(7, 50), (3, 1536), (5, 1024), (4, 512)])
def test_classes_come_equally_often(classes: int, batches: int) -> None:
    sampler = PKSampler(LABELS, classes, 2, seed=0)
    drawn = np.bincount(LABELS[rows_of(sampler, batches).ravel()])
    assert np.abs(drawn / 2 - batches * classes / 7).max() <= (0 if classes == 7 else 3)  # visits


@pytest.mark.parametrize("balance", BALANCES)
def test_every_round_visits_every_class_about_as_often_as_it_is_due(balance: float) -> None:
    chances = class_chances(np.bincount(MANY), 8, balance)
    rounds = Rounds(chances, 8, seed=0)
    for number in range(6):
        classes, _ = rounds.batches(number * rounds.length, (number + 1) * rounds.length)
        visits = np.bincount(classes.ravel(), minlength=60)
        assert visits.min() >= 1
        assert np.abs(visits - chances * rounds.length).max() < 1


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize(("labels", "classes"), [(LABELS, 3), (LABELS, 1), (MANY, 8), (MANY, 60)])
def test_classes_come_as_often_as_class_shares_says(
    labels: npt.NDArray[np.int64], classes: int, balance: float
) -> None:
    sampler = PKSampler(labels, classes, 2, seed=3, balance=balance)
    drawn = np.bincount(labels[rows_of(sampler, 1000).ravel()], minlength=len(sampler.class_shares)) / 2
    assert np.abs(drawn - 1000 * classes * sampler.class_shares).max() < 6  # visits


def test_balance_goes_from_natural_to_equal_frequencies() -> None:
    sizes = np.array([50, 40, 30, 20, 10])
    labels = np.repeat([0, 1, 3, 4, 5], sizes)  # no class 2
    for balance in BALANCES:
        shares = PKSampler(labels, 2, 4, seed=0, balance=balance).class_shares
        wanted = sizes ** (1 - balance) / (sizes ** (1 - balance)).sum()
        assert shares == pytest.approx(np.insert(wanted, 2, 0), abs=1e-7)


def test_a_class_comes_at_most_once_a_batch_and_the_others_share_what_is_left() -> None:
    sampler = PKSampler(np.repeat(np.arange(5), [900, 40, 20, 20, 20]), 3, 2, seed=0, balance=0)
    # 3 x 0.9 and then 2 x 0.4 of the rest: only the first is above once a batch
    assert 3 * sampler.class_shares == pytest.approx([1, 0.8, 0.4, 0.4, 0.4], abs=1e-7)
    assert class_chances(np.array([900, 60, 20, 20]), 3, 0) == pytest.approx([1, 1, 0.5, 0.5])


def test_visits_of_a_class_are_evenly_spread() -> None:
    labels = np.repeat(np.arange(101), [100] + [2] * 100)
    sampler = PKSampler(labels, 1, 2, seed=0, balance=0)  # class 0 in a third of the batches
    gaps = np.diff(np.flatnonzero(labels[rows_of(sampler, 3000)][:, 0] == 0))
    assert gaps.max() <= 8
    assert np.mean(gaps == 1) < 0.1


@pytest.mark.parametrize("balance", BALANCES)
def test_every_two_classes_meet_and_about_equally_often(balance: float) -> None:
    labels = np.repeat(np.arange(64), np.arange(64) % 8 + 4)
    sampler = PKSampler(labels, 8, 1, seed=1, balance=balance)
    met = Counter(pair for row in labels[rows_of(sampler, 3000)] for pair in combinations(sorted(row), 2))
    chances = 8 * sampler.class_shares
    ratios = [met[pair] / (3000 * chances[pair[0]] * chances[pair[1]]) for pair in combinations(range(64), 2)]
    assert min(ratios) > 0.2  # of the 13 times or more that independent draws would give
    assert max(ratios) < 3


@pytest.mark.parametrize("balance", BALANCES)
@pytest.mark.parametrize("length", [1, 7, 100])  # of epochs, within a round and over several
def test_the_visits_of_a_class_are_numbered_one_by_one(balance: float, length: int) -> None:
    chances = class_chances(np.arange(1, 41), 6, balance)
    rounds, visits = Rounds(chances, 6, seed=0), np.zeros(40, np.int64)
    for first in range(0, 300, length):
        assert (rounds.visits_before(first) == visits).all()
        for classes, before in zip(*rounds.batches(first, first + length), strict=True):
            assert (before == visits[classes]).all()
            visits[classes] += 1
    assert (Rounds(chances, 6, seed=0).visits_before(first + length) == visits).all()
    assert (rounds.visits_before(0) == 0).all()


def test_a_class_shows_all_its_images_before_one_comes_again_and_then_in_another_order() -> None:
    sampler = PKSampler(np.repeat(np.arange(2), 12), 2, 3, seed=0)
    cycles = np.sort(rows_of(sampler, 40), axis=1).reshape(10, 4, 6)
    assert all(sorted(cycle.ravel()) == list(range(24)) for cycle in cycles)
    assert len({cycle.tobytes() for cycle in cycles}) == 10


@pytest.mark.parametrize("balance", BALANCES)
def test_an_image_that_an_epoch_did_not_show_comes_before_its_class_shows_one_again(balance: float) -> None:
    sampler = PKSampler(MANY, 8, 2, seed=4, balance=balance)
    shown = np.zeros(len(MANY), np.int64)
    for batch in rows_of(sampler, 40 * len(sampler)):
        np.add.at(shown, batch, 1)
        for label in np.unique(MANY[batch]):
            counts = shown[label == MANY]
            if len(counts) % 2 == 0:  # windows of K come out even
                assert counts.max() - counts.min() <= 1


def test_every_image_stands_anywhere_in_the_order_of_its_class() -> None:
    sampler = PKSampler(np.repeat([0, 1], 6), 2, 1, seed=0, balance=1)
    cycles = np.sort(rows_of(sampler, 6000), axis=1)[:, 0].reshape(1000, 6)
    assert (np.sort(cycles, axis=1) == np.arange(6)).all()
    assert np.abs(cycles.mean(axis=0) - 2.5).max() < 0.2  # each place anywhere
    assert len(set(map(tuple, cycles.tolist()))) > 400  # of 720 orders


def test_more_classes_than_there_are_means_all_of_them() -> None:
    for balance in BALANCES:
        sampler = PKSampler(LABELS, 99, 3, seed=0, balance=balance)
        assert sampler.classes == 7
        assert sampler.batch_size == 21
        assert sampler.class_shares == pytest.approx(np.full(7, 1 / 7))


def test_one_class_is_a_batch_of_its_images() -> None:
    sampler = PKSampler(np.zeros(10, np.int64), 4, 5, seed=0)
    assert len(sampler.rows_of(0, 0)) == 5
    assert sorted(rows_of(sampler, 2).ravel()) == list(range(10))


def test_images_of_a_class_smaller_than_k_repeat_evenly() -> None:
    rows = PKSampler(np.zeros(3, np.int64), 1, 8, seed=0).rows_of(0, 0)
    assert sorted(np.bincount(rows)) == [2, 3, 3]


SHARED: dict[str, Callable[[], BatchSampler]] = {
    "pk": lambda: PKSampler(LABELS, 5, 3, seed=7, balance=0.5),
    "natural": lambda: NaturalSampler(len(LABELS), 17, seed=7),
    "unlabelled": lambda: WithUnlabelled(PKSampler(LABELS, 4, 4, seed=7), len(LABELS), 30, seed=8),
}


@pytest.mark.parametrize("kind", SHARED)
@pytest.mark.parametrize("ranks", [1, 2, 3, 7])
def test_ranks_share_every_batch(kind: str, ranks: int) -> None:
    parts = [SHARED[kind]() for _ in range(ranks)]
    for number, part in enumerate(parts):
        part.take_share(number, ranks)
    for batch, *shares in zip(SHARED[kind](), *parts, strict=True):
        # the occurrences too: a row drawn by two ranks looks different on each
        assert sorted(key for share in shares for key in share) == sorted(batch)
        assert [key for key in batch if key in shares[0]] == shares[0]
        sizes = [len(share) for share in shares]
        assert 2 <= min(sizes) <= max(sizes) <= min(sizes) + 2


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
def test_a_share_holds_the_mirror_image_of_each_of_its_places(ranks: int) -> None:
    for size in range(2 * ranks, 40):
        shares = [share_of(size, rank, ranks) for rank in range(ranks)]
        assert sorted(sum(shares, [])) == list(range(size))
        for share in shares:
            assert [size - 1 - place for place in reversed(share)] == share


def test_the_classes_of_a_pk_batch_are_spread_over_the_ranks() -> None:
    sampler = PKSampler(LABELS, 4, 6, seed=0)
    sampler.take_share(1, 3)
    for share in sampler:
        assert set(Counter(LABELS[row] for row, _, _ in share).values()) == {2}


def test_ranks_that_cannot_share_a_batch_are_refused() -> None:
    with pytest.raises(UserError, match="a batch of 7 images does not give each of 4 processes two"):
        NaturalSampler(7, 16, seed=0).take_share(0, 4)


def test_natural_batches_show_every_row_once_an_epoch_and_fill_the_last_batch() -> None:
    sampler = NaturalSampler(50, 16, seed=3)
    keys = [key for batch in sampler for key in batch]
    rows = [row for row, _, _ in keys]
    assert len(keys) == 4 * 16
    assert sorted(rows[:50]) == list(range(50))
    assert NaturalSampler(5, 16, seed=0).batch_size == 5


@pytest.mark.parametrize("balance", BALANCES)
def test_batches_are_a_function_of_seed_epoch_and_number(balance: float) -> None:
    first, second, other = (PKSampler(LABELS, 3, 4, seed=seed, balance=balance) for seed in (5, 5, 6))
    for number in (7, 3, 5):  # in any order
        assert (first.rows_of(2, number) == second.rows_of(2, number)).all()
    assert any((first.rows_of(2, n) != other.rows_of(2, n)).any() for n in range(5))
    assert any((first.rows_of(2, n) != first.rows_of(3, n)).any() for n in range(5))
    assert (first.rows_of(0, 1) == second.rows_of(0, 1)).all()  # an earlier epoch again


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
