"""Batch norm is fused into convolutions for evaluation: fewer layers, the same features."""

import pytest
import torch
from torch import Tensor, nn

from supcon.settings.settings import ModelSettings
from supcon.training.model.encoder import Encoder, fuse_batch_norm
from tests.rounding import FLOAT32, FLOAT64, distance, of_sums


def trained(name: str) -> Encoder:
    """An encoder whose batch norms have running statistics of some batches."""
    torch.manual_seed(0)
    encoder = Encoder(ModelSettings(encoder=name, pretrained=False), 32, load_weights=False)
    for norm in encoder.modules():
        if isinstance(norm, nn.BatchNorm2d):
            assert isinstance(norm.running_mean, Tensor)
            assert isinstance(norm.running_var, Tensor)
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            norm.weight.data.uniform_(0.5, 2)
    return encoder.eval()


def norms_at_work(encoder: Encoder, views: Tensor) -> int:
    """The number of batch norms that a forward pass computes."""
    with torch.profiler.profile() as profile, torch.inference_mode():
        encoder(views)
    return sum(event.count for event in profile.key_averages() if event.key == "aten::batch_norm")


@pytest.mark.parametrize("name", ["resnet10t", "tf_efficientnet_lite0", "mobilenetv3_small_050"])
def test_the_features_stay_and_the_batch_norms_go(name: str) -> None:
    encoder, views = trained(name), torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        # as if the sums of all layers were one; measured is the rounding of 10 to 40 terms
        terms = sum(layer.weight[0].numel() for layer in encoder.modules() if isinstance(layer, nn.Conv2d))
        for precision, unit in ((torch.float64, FLOAT64), (torch.float32, FLOAT32)):
            encoder.to(precision)
            assert distance(fuse_batch_norm(encoder, 32)(views), encoder(views)) <= of_sums(terms, unit)
    assert norms_at_work(fuse_batch_norm(encoder, 32), views) == 0
    assert norms_at_work(encoder, views) > 0  # the encoder itself, which may train on, is as it was


def test_the_training_mode_of_the_encoder_does_not_matter_and_stays() -> None:
    encoder = trained("resnet10t").train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    shorter = fuse_batch_norm(encoder, 32)
    assert encoder.training
    assert not shorter.training
    for name, value in encoder.state_dict().items():
        torch.testing.assert_close(value, before[name], rtol=0, atol=0)


class SharedConvolution(nn.Module):
    """One convolution before two batch norms: nothing can be fused."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.first, self.second = nn.BatchNorm2d(4), nn.BatchNorm2d(4)

    def forward(self, images: Tensor) -> Tensor:
        out: Tensor = (self.first(self.conv(images)) + 3 * self.second(self.conv(images))).mean(dim=(2, 3))
        return out


def test_a_convolution_that_is_used_twice_is_left_as_it_is() -> None:
    encoder = trained("resnet10t")
    encoder.backbone = SharedConvolution().eval()
    encoder.backbone.second.weight.data.fill_(3.0)
    views = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(fuse_batch_norm(encoder, 32)(views), encoder(views))
    assert norms_at_work(fuse_batch_norm(encoder, 32), views) == 2


def test_an_encoder_without_batch_norm_passes_through() -> None:
    encoder = trained("test_vit")
    views = torch.randint(0, 256, (3, 32, 32, 3), dtype=torch.uint8)
    with torch.inference_mode():
        torch.testing.assert_close(fuse_batch_norm(encoder, 32)(views), encoder(views))
