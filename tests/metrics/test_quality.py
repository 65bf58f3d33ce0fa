"""All of an embedding's numbers at once, each the one of its own function."""

import numpy as np
import pytest
import torch

from supcon.metrics.embeddings import (
    alignment,
    distance_ratio,
    effective_rank,
    embedding_quality,
    isotropy,
    knn_macro_f1,
    uniformity,
)


def test_the_geometry_is_that_of_held_out_rows_and_training_rows_are_their_neighbours() -> None:
    draw = np.random.default_rng(0)
    centres = draw.normal(size=(3, 8))
    labels = draw.integers(0, 3, 90)
    rows = (centres[labels] + 0.5 * draw.normal(size=(90, 8))).astype(np.float16)  # as they are stored
    quality = embedding_quality(rows[:60], labels[:60], rows[60:], labels[60:], 3)
    bank, z, y = torch.from_numpy(rows[:60]), torch.from_numpy(rows[60:]).float(), torch.from_numpy(labels[60:])
    assert quality["alignment"] == pytest.approx(alignment(z, y))
    assert quality["uniformity"] == pytest.approx(uniformity(z))
    assert quality["isotropy"] == pytest.approx(isotropy(z))
    assert quality["effective_rank"] == pytest.approx(effective_rank(z))
    assert quality["distance_ratio"] == pytest.approx(distance_ratio(z, y))
    assert quality["knn_macro_f1"] == pytest.approx(knn_macro_f1(bank, torch.from_numpy(labels[:60]), z, y, 3))


def test_without_held_out_rows_there_is_nothing_to_tell() -> None:
    rows, labels = np.eye(4), np.array([0, 0, 1, 1])
    quality = embedding_quality(rows, labels, rows[:0], labels[:0], 2)
    assert np.isnan(list(quality.values())).all()
