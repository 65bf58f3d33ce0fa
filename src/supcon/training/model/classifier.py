"""The classifier on the encoder's features."""

from typing import Literal

from torch import nn

Mode = Literal["linear", "mlp", "full"]


def classifier_head(width: int, classes: int, mode: Mode, dropout: float) -> nn.Module:
    """Return the classifier, [N, width] -> logits [N, classes]: a hidden layer for `mlp`, else linear."""
    if mode == "mlp":
        return nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(width, classes)
        )
    return nn.Sequential(nn.Dropout(dropout), nn.Linear(width, classes))
