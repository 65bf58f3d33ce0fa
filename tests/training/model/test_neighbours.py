"""The classifier by neighbours is a weighted vote of the nearest views, whatever part of the gallery they lie in."""

import pytest
import torch
from torch.nn import functional as F

from supcon.training.model import classifier
from supcon.training.model.classifier import Neighbours

CLASSES, WIDTH, VIEWS = 4, 6, 50


def gallery(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(seed)
    return torch.randn(VIEWS, WIDTH, generator=draw), torch.randint(0, CLASSES, (VIEWS,), generator=draw)


def votes(query: torch.Tensor, nearest: int, temperature: float, prior: torch.Tensor) -> torch.Tensor:
    """The definition, for one query, in double precision."""
    features, labels = gallery()
    cosines = F.normalize(features, dim=1).half().double() @ F.normalize(query.double(), dim=0)
    sums, order = 0.1 * prior.double(), cosines.argsort(descending=True)[:nearest]
    for row in order.tolist():
        sums[labels[row]] += ((cosines[row] - cosines[order[0]]) / temperature).exp()
    return sums.log()


@pytest.mark.parametrize("part", [7, 1000])
@pytest.mark.parametrize("nearest", [1, 5, 500])
def test_votes_are_those_of_the_definition(nearest: int, part: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(classifier, "_GALLERY_PART", part)
    features, labels = gallery()
    prior = torch.tensor([0.1, 0.2, 0.3, 0.4])
    module = Neighbours(features, labels, prior, nearest, 0.2)
    queries = torch.randn(8, WIDTH, generator=torch.Generator().manual_seed(1))
    expected = torch.stack([votes(query, min(nearest, VIEWS), 0.2, prior) for query in queries])
    # cosines are off by a few roundings of single precision, and divided by the temperature
    torch.testing.assert_close(module(queries).double(), expected, atol=1e-5, rtol=0)


def test_the_length_of_features_does_not_count() -> None:
    features, labels = gallery()
    module = Neighbours(features, labels, torch.ones(CLASSES) / CLASSES, 5, 0.1)
    queries = torch.randn(3, WIDTH)
    torch.testing.assert_close(module(queries), module(10 * queries), atol=1e-4, rtol=0)


def test_a_class_without_neighbours_keeps_its_prior_and_no_probability_is_zero() -> None:
    features = torch.eye(3)[[0, 0, 1]]
    module = Neighbours(features, torch.tensor([0, 0, 1]), torch.tensor([0.5, 0.3, 0.2]), 2, 0.1)
    (log_odds,) = module(torch.eye(3)[:1])
    torch.testing.assert_close(log_odds.exp(), torch.tensor([2.05, 0.03, 0.02]))
