"""Few-shot episodes: what is drawn, what is right, and how exactly the mean is known."""

import math

import numpy as np
import pytest

from supcon.metrics.episodes import EpisodeShape, draw_episode, episode_accuracies, mean_with_interval, rows_of_classes

LABELS = np.random.default_rng(0).permutation(np.repeat([2, 3, 5, 7], [20, 12, 6, 3]))


def random_features(rows: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width))


def test_only_classes_with_enough_rows_take_part_each_with_its_own_rows() -> None:
    rows_of = rows_of_classes(LABELS, 6)
    assert [set(LABELS[rows]) for rows in rows_of] == [{2}, {3}, {5}]
    assert [len(rows) for rows in rows_of] == [20, 12, 6]
    assert rows_of_classes(LABELS, 21) == []
    assert rows_of_classes(LABELS[:0], 1) == []


def test_labelled_rows_and_queries_share_no_row_and_are_of_the_classes_they_stand_for() -> None:
    random, shape, rows_of = np.random.default_rng(0), EpisodeShape(3, 4, 5), rows_of_classes(LABELS, 5)
    classes = set()
    for _ in range(50):
        labelled, queries, ways = draw_episode(rows_of, shape, random)
        assert labelled.shape == (3, 4)
        rows = [*labelled.ravel().tolist(), *queries.tolist()]
        assert len(set(rows)) == len(rows)
        of_way = LABELS[labelled[:, 0]]
        assert len(set(of_way)) == 3
        assert (LABELS[labelled] == of_way[:, None]).all()
        assert (LABELS[queries] == of_way[ways]).all()
        left = {2: 5, 3: 5, 5: 2}  # a class of 6 rows has 2 beside its 4 labelled ones
        assert np.bincount(ways).tolist() == [left[label] for label in of_way]
        classes.add(tuple(of_way))
    assert len(classes) > 1  # in any order


def test_a_query_is_given_to_the_class_mean_of_the_largest_cosine() -> None:
    features, shape, rows_of = random_features(len(LABELS), 3, 1), EpisodeShape(3, 2, 4), rows_of_classes(LABELS, 3)
    features[:, 0] += LABELS  # so that some are right
    random, wanted = np.random.default_rng(5), []
    unit = features / np.sqrt((features**2).sum(axis=1, keepdims=True))
    for _ in range(20):
        labelled, queries, ways = draw_episode(rows_of, shape, random)
        right = 0
        for query, way in zip(queries, ways, strict=True):
            means = [sum(unit[row] for row in rows) / len(rows) for rows in labelled]
            cosines = [mean @ unit[query] / math.hypot(*mean) for mean in means]
            right += cosines.index(max(cosines)) == way
        wanted.append(right / len(queries))
    accuracies = episode_accuracies(features, rows_of, shape, 20, 5)
    assert accuracies == pytest.approx(wanted)
    assert 0 < accuracies.mean() < 1


def test_classes_that_lie_apart_are_always_told_and_the_length_of_a_feature_means_nothing() -> None:
    rows_of, shape = rows_of_classes(LABELS, 2), EpisodeShape(4, 1, 15)
    apart = np.eye(8)[LABELS]
    accuracies = episode_accuracies(apart, rows_of, shape, 100, 0)
    assert mean_with_interval(accuracies) == (1.0, 1.0, 1.0)
    features = random_features(len(LABELS), 4, 0)
    lengths = 2.0 ** np.random.default_rng(1).integers(-8, 8, size=(len(LABELS), 1))  # which a division takes exactly
    plain, longer = (episode_accuracies(values, rows_of, shape, 100, 0) for values in (features, features * lengths))
    assert plain.tolist() == longer.tolist()


@pytest.mark.parametrize("ways", [2, 5])
def test_features_that_say_nothing_are_right_by_chance(ways: int) -> None:
    rows_of, shape, count = rows_of_classes(np.repeat(np.arange(5), 6), 2), EpisodeShape(ways, 1, 5), 2000
    # one episode of each of many draws of features: independent numbers in 0 .. 1 of mean 1 / ways
    alone = [episode_accuracies(random_features(30, 4, seed), rows_of, shape, 1, seed)[0] for seed in range(count)]
    bound = math.sqrt(math.log(2 / 1e-6) / (2 * count))  # Hoeffding 1963: further off with probability 1e-6
    assert np.mean(alone) == pytest.approx(1 / ways, abs=bound)
    same = episode_accuracies(np.ones((30, 4)), rows_of, shape, 10, 0)
    assert same == pytest.approx(1 / ways)


def test_the_seed_says_which_episodes_are_drawn_and_fewer_are_the_first_of_more() -> None:
    features, shape, rows_of = random_features(len(LABELS), 4, 0), EpisodeShape(3, 1, 5), rows_of_classes(LABELS, 2)
    first = episode_accuracies(features, rows_of, shape, 30, 7)
    assert episode_accuracies(features, rows_of, shape, 30, 7).tolist() == first.tolist()
    assert episode_accuracies(features, rows_of, shape, 10, 7).tolist() == first[:10].tolist()
    assert episode_accuracies(features, rows_of, shape, 30, 8).tolist() != first.tolist()


def test_the_interval_is_two_standard_errors_wide_on_each_side_and_stays_a_share() -> None:
    mean, low, high = mean_with_interval(np.tile([0.4, 0.6], 50))
    error = math.sqrt(100 * 0.1**2 / 99) / 10  # of 100 numbers that are 0.1 off their mean
    assert (mean, low, high) == pytest.approx((0.5, 0.5 - 1.96 * error, 0.5 + 1.96 * error))
    assert mean_with_interval(np.array([0.0, 1.0])) == (0.5, 0.0, 1.0)
