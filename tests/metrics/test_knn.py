"""The nearest-neighbour monitor."""

import torch

from supcon.metrics.embeddings import knn_macro_f1


def test_clusters_are_told_apart_and_noise_is_chance() -> None:
    generator = torch.Generator().manual_seed(0)
    centres = torch.eye(4) * 5
    labels = torch.arange(400) % 4
    clustered = centres[labels] + torch.randn(400, 4, generator=generator)
    assert knn_macro_f1(clustered[:300], labels[:300], clustered[300:], labels[300:], 4) > 0.95
    noise = torch.randn(400, 4, generator=generator)
    assert knn_macro_f1(noise[:300], labels[:300], noise[300:], labels[300:], 4) < 0.4
