"""Few-shot episodes on frozen features: some classes, a few labelled rows of each, and other rows to classify.

Chen et al. 2019 (arXiv 1904.04232) and Tian et al. 2020 (arXiv 2003.11539) judge features by them. The classifier is
the nearest class mean (Snell et al. 2017, arXiv 1703.05175) of unit-length features, by cosine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from supcon.arrays import Features, Floats, Labels, Rows

_HALF_WIDTH = 1.96  # of a 95 % interval, in standard errors


@dataclass(frozen=True)
class EpisodeShape:
    """How many rows an episode has."""

    ways: int  # classes
    shots: int  # labelled rows of each class
    queries: int  # rows of each class to classify; fewer where the class has fewer


def rows_of_classes(labels: Labels, least: int) -> list[Rows]:
    """Return the row numbers of each class in `labels` [rows] that has `least` rows or more."""
    order = np.argsort(labels, kind="stable")
    classes = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return [rows for rows in classes if len(rows) >= least]


def draw_episode(
    rows_of: Sequence[Rows], shape: EpisodeShape, random: np.random.Generator
) -> tuple[Rows, Rows, Labels]:
    """Return the labelled rows [ways, shots], the queries [Q], and which of the ways each query is of, [Q].

    `rows_of` holds the rows of each class, `shots` + 1 or more. No row is drawn twice.
    """
    most = shape.shots + shape.queries
    classes = random.choice(len(rows_of), shape.ways, replace=False)
    drawn = [random.choice(rows_of[label], min(most, len(rows_of[label])), replace=False) for label in classes]
    queries = [rows[shape.shots :] for rows in drawn]
    ways = np.repeat(np.arange(shape.ways), [len(rows) for rows in queries])
    return np.stack([rows[: shape.shots] for rows in drawn]), np.concatenate(queries), ways


def episode_accuracies(
    features: Features, rows_of: Sequence[Rows], shape: EpisodeShape, episodes: int, seed: int
) -> Floats:
    """Return the share of each episode's queries that lie nearest to the mean of their own class, [episodes].

    `features` [rows, D] are normalised inside. The same `rows_of` and `seed` give the same episodes, whatever the
    features; fewer `episodes` are the first of more.
    """
    unit, random = _on_sphere(features.astype(np.float32)), np.random.default_rng(seed)
    accuracies = np.empty(episodes)
    for episode in range(episodes):
        labelled, queries, ways = draw_episode(rows_of, shape, random)
        means = _on_sphere(unit[labelled].mean(axis=1))
        accuracies[episode] = ((unit[queries] @ means.T).argmax(axis=1) == ways).mean()
    return accuracies


def mean_with_interval(accuracies: Floats) -> tuple[float, float, float]:
    """Return the mean of two or more episodes [episodes] and the ends of its 95 % interval, kept within 0 .. 1.

    Episodes share rows: the interval says how exactly this mean is known, not how other rows would score.
    """
    mean = float(accuracies.mean())
    half = _HALF_WIDTH * float(accuracies.std(ddof=1)) / len(accuracies) ** 0.5
    return mean, max(0.0, mean - half), min(1.0, mean + half)


def _on_sphere(rows: Features) -> Features:
    unit: Features = rows / np.maximum(np.linalg.norm(rows, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
    return unit
