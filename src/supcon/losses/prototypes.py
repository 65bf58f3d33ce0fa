"""Balanced contrast with a learnable prototype for each class."""

from numbers import Integral

import torch
from torch import Tensor, nn

from supcon.losses.batch import sort_batch
from supcon.losses.contrastive import anchor_losses, check_items, check_options, mean_over_valid
from supcon.losses.full_float32 import full_float32


class BalancedContrast(nn.Module):
    """The form `balanced` with class prototypes (Zhu et al. 2022, arXiv 2207.09052).

    The prototype of class c is one more member of B_c, and one more positive of the anchors of class c; so every anchor
    has a positive. The paper trains with logit-adjusted cross-entropy + 0.35 x this loss at temperature 0.07.
    """

    def __init__(self, classes: int, dim: int, temperature: float = 0.1) -> None:
        """Draw `prototypes`, a parameter [classes, dim]. Raises `ValueError` for arguments that do not fit."""
        super().__init__()
        for name, count in (("classes", classes), ("dim", dim)):
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{name} must be a whole number above 0, got {count!r}")
        check_options("balanced", temperature, 0.0, 0.0)
        self.temperature = temperature
        self.prototypes = nn.Parameter(nn.functional.normalize(torch.randn(classes, dim), dim=1))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Return the mean loss of `embeddings` [N, D] with `labels` [N] from 0 to classes - 1, a scalar.

        Raises `ValueError` for arguments that do not fit.
        """
        check_items("embeddings", embeddings, "labels", labels)
        classes, dim = self.prototypes.shape
        if embeddings.shape[1] != dim or (len(labels) and labels.max() >= classes):
            raise ValueError(
                f"the prototypes are {classes} classes x {dim}, got embeddings {list(embeddings.shape)} with labels up"
                f" to {int(labels.max()) if len(labels) else 0}"
            )
        with full_float32(embeddings.device):
            names = torch.arange(classes, device=labels.device)
            batch = sort_batch(embeddings, labels, self.prototypes, names)
            return mean_over_valid(batch, anchor_losses(batch, "balanced", self.temperature, 0.0, 0.0))
