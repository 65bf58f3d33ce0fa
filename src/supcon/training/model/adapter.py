"""What is trained where the encoder stays as it is: an adapter, an MLP on the encoder's features."""

from torch import Tensor, nn
from torch.nn import functional as F

from supcon.training.model.encoder import Encoder


class Adapter(nn.Module):
    """Features and what an MLP adds to them: [N, width] -> [N, width].

    It begins as no change but layer norm, so that what the encoder knows is there from the first step, as in Houlsby
    et al. 2019 (arXiv 1902.00751) and, on the features alone, Gao et al. 2021 (CLIP-Adapter, arXiv 2110.04544).
    """

    patch = 1  # it sees features, of images of one size

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.width = width
        last = nn.Linear(hidden, width)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.layers = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), last)

    def forward(self, features: Tensor) -> Tensor:
        """Return the adapted features."""
        normed = F.layer_norm(features, (self.width,))
        adapted: Tensor = normed + self.layers(normed)
        return adapted


class FrozenEncoder(nn.Module):
    """The encoder with its adapter: uint8 views [N, side, side, 3] -> features [N, width]."""

    def __init__(self, encoder: Encoder, adapter: Adapter) -> None:
        super().__init__()
        self.encoder, self.adapter, self.width = encoder, adapter, adapter.width

    def forward(self, views: Tensor) -> Tensor:
        """Return the adapted features."""
        adapted: Tensor = self.adapter(self.encoder(views).float())
        return adapted
