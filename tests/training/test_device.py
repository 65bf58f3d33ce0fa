"""A batch of views through a network."""

import torch
from torch import Tensor, nn

from supcon.training.device import forward_views


class Brightness(nn.Module):
    """Returns each image's sum and number of pixels; remembers how many images it was given at once."""

    def __init__(self) -> None:
        super().__init__()
        self.passes: list[int] = []

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        assert images.is_contiguous()
        self.passes.append(len(images))
        pixels = images.flatten(1).float()
        return pixels.sum(1), torch.full((len(images), 2), float(pixels.shape[1]))


def test_a_network_sees_one_view_of_each_row_at_a_time_and_its_outputs_keep_their_places() -> None:
    views = torch.randint(0, 256, (3, 4, 5, 5, 3), dtype=torch.uint8)
    network = Brightness()
    sums, sizes = forward_views(network, views, torch.device("cpu"), "float32")
    assert network.passes == [3, 3, 3, 3]
    assert sums.equal(views.flatten(2).sum(2).float())
    assert sizes.shape == (3, 4, 2)
    assert (sizes == 75).all()
