"""What sits on the encoder: the projection head of the contrastive loss, and the classifier."""

from typing import Literal

from torch import nn

Mode = Literal["linear", "mlp", "full"]


def projection_head(width: int, hidden: int, dim: int) -> nn.Module:
    """Return the MLP of Khosla et al. 2020, [N, width] -> [N, dim]; the loss normalises its output."""
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, dim))


def classifier_head(width: int, classes: int, mode: Mode, dropout: float) -> nn.Module:
    """Return the classifier, [N, width] -> logits [N, classes]: a hidden layer for `mlp`, else linear."""
    if mode == "mlp":
        return nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(width, classes)
        )
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
