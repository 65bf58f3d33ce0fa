"""The map of embeddings, and their way to two dimensions."""

from typing import Literal

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from supcon.plots import embedding_map, project
from tests.plots.shown import AWKWARD, check, said

pytestmark = pytest.mark.filterwarnings("error")


Method = Literal["pca", "tsne"]


def clusters(rows: int, classes: int, dimensions: int = 16) -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    labels = np.arange(rows) % classes
    return draw.normal(size=(classes, dimensions))[labels] + 0.1 * draw.normal(size=(rows, dimensions)), labels


def marks(figure: Figure) -> list[PathCollection]:
    return [mark for mark in figure.axes[0].collections if isinstance(mark, PathCollection)]


def drawn(figure: Figure) -> np.ndarray:
    return np.concatenate([np.asarray(mark.get_offsets()) for mark in marks(figure)])


@pytest.mark.parametrize("classes", [1, 2, 20])
def test_every_row_is_a_point_and_held_out_rows_are_marks(classes: int) -> None:
    points, labels = np.random.default_rng(0).normal(size=(200, 2)), np.arange(200) % classes
    held_out = np.arange(200) % 5 == 0
    figure = embedding_map(points, labels, held_out, [f"c{number}" for number in range(classes)], "Map")
    check(figure)
    assert sorted(map(tuple, drawn(figure))) == sorted(map(tuple, points))
    large = [mark for mark in marks(figure) if mark.get_sizes()[0] == max(m.get_sizes()[0] for m in marks(figure))]
    assert sum(len(np.asarray(mark.get_offsets())) for mark in large) == held_out.sum()
    looks = {(tuple(np.ravel(mark.get_facecolor())), np.shape(mark.get_paths()[0].vertices)) for mark in large}
    assert len(looks) == classes  # no two alike
    assert {f"c{number}" for number in range(classes)} <= set(said(figure))
    assert "other" not in said(figure)


def test_of_many_classes_the_chosen_or_the_largest_have_a_colour() -> None:
    labels = np.repeat(np.arange(30), np.arange(1, 31))
    points, held_out = np.random.default_rng(0).normal(size=(len(labels), 2)), np.ones(len(labels), bool)
    classes = [f"c{number}" for number in range(30)]
    largest = embedding_map(points, labels, held_out, classes)
    check(largest)
    assert {f"c{number}" for number in range(11, 30)} | {"other"} <= set(said(largest))
    assert "c10" not in said(largest)
    asked = embedding_map(points, labels, held_out, classes, shown=[0, 1])
    assert {"c0", "c1", "c29", "other"} <= set(said(asked))
    assert "c12" not in said(asked)
    assert len(drawn(asked)) == len(labels)


def test_rows_without_a_label_are_grey() -> None:
    figure = embedding_map(np.eye(4, 2), np.array([0, 0, -1, -1]), np.array([True, False, True, False]), ["a"])
    check(figure)
    assert "no label" in said(figure)
    assert len(drawn(figure)) == 4


def test_maps_of_no_rows_one_part_and_any_name() -> None:
    none = np.zeros(0, np.int64)
    check(embedding_map(np.zeros((0, 2)), none, none.astype(bool), ["a"]))
    points, labels = np.random.default_rng(0).normal(size=(24, 2)), np.arange(24) % len(AWKWARD)
    for held_out in (True, False):
        check(embedding_map(points, labels, np.full(24, held_out), AWKWARD, "$m_"))


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_a_projection_keeps_classes_together_and_repeats(method: Method) -> None:
    embeddings, labels = clusters(120, 4)
    projection = project(embeddings.astype(np.float16), method, seed=1)
    assert projection.rows.tolist() == list(range(120))
    assert projection.points.shape == (120, 2)
    centres = np.stack([projection.points[labels == number].mean(axis=0) for number in range(4)])
    nearest = np.linalg.norm(projection.points[:, None] - centres, axis=2).argmin(axis=1)
    assert (nearest == labels).mean() > 0.95
    again = project(embeddings.astype(np.float16), method, seed=1)
    assert (again.points == projection.points).all()


def test_of_many_rows_some_are_drawn_by_the_seed() -> None:
    embeddings, _ = clusters(300, 3)
    first, same, other = (project(embeddings, "pca", seed, rows=50).rows for seed in (0, 0, 1))
    assert len(set(first)) == 50
    assert (np.diff(first) > 0).all()
    assert (first == same).all()
    assert set(first) != set(other)


@pytest.mark.parametrize("method", ["pca", "tsne"])
@pytest.mark.parametrize("shape", [(0, 5), (2, 5), (3, 5), (5, 1), (40, 1), (6, 200)])
def test_few_rows_and_dimensions_are_no_trouble(shape: tuple[int, int], method: Method) -> None:
    projection = project(np.random.default_rng(0).normal(size=shape), method)
    assert projection.points.shape == (shape[0], 2)
    assert np.isfinite(projection.points).all()


def test_equal_embeddings_have_points_too() -> None:
    assert np.isfinite(project(np.ones((20, 4)), "pca").points).all()
    assert np.isfinite(project(np.ones((20, 4)), "tsne").points).all()
