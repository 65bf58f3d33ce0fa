"""GradCache's gradient is that of one retained graph over the same chunks."""

from contextlib import nullcontext
from functools import partial

import pytest
import torch
from torch import Tensor, nn

from supcon.losses import contrastive_loss
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings
from supcon.training.gradcache import Context, backward, chunk_count
from supcon.training.loop import Objective, Step
from supcon.training.objectives import StageObjective
from tests.devices import DEVICES
from tests.rounding import FLOAT32, FLOAT64, distance, joined, of_contrast


def encoder(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(24, 8)]
    return nn.Sequential(*layers, nn.Dropout(0.2)).to(dtype)


def projection(dtype: torch.dtype) -> nn.Module:
    torch.manual_seed(1)
    return nn.Sequential(nn.Linear(8, 8), nn.BatchNorm1d(8), nn.Dropout(0.2), nn.Linear(8, 5)).to(dtype)


def retained(
    encode: nn.Module, images: Tensor, head: nn.Module, labels: Tensor, chunks: int, autocast: Context
) -> Tensor:
    """One graph over all chunks."""
    with autocast():
        features = torch.cat([encode(part) for part in images.tensor_split(chunks)])
        loss = contrastive_loss(head(features), labels)
    loss.backward()
    return loss


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("chunks", [1, 2, 3, 7])
@pytest.mark.parametrize("precision", ["float64", "autocast"])
def test_loss_gradients_running_statistics_and_streams_are_those_of_one_graph(
    device: str, chunks: int, precision: str
) -> None:
    dtype = torch.float64 if precision == "float64" else torch.float32
    autocast: Context = nullcontext
    reference: Context = nullcontext
    if precision == "autocast":
        autocast = partial(torch.autocast, device, torch.bfloat16)
        # a cached cast weight would add up the chunks' gradients in bfloat16
        reference = partial(torch.autocast, device, torch.bfloat16, cache_enabled=False)
    images, labels = torch.randn(23, 3, 4, 4, dtype=dtype).to(device), (torch.arange(23) % 4).to(device)
    ours, theirs = ((encoder(dtype).to(device), projection(dtype).to(device)) for _ in range(2))
    torch.manual_seed(5)
    loss = backward(ours[0], images, lambda x: contrastive_loss(ours[1](x), labels), chunks, autocast)
    drawn = torch.rand(3, device=device)
    torch.manual_seed(5)
    expected = retained(theirs[0], images, theirs[1], labels, chunks, reference)
    # the passes are the same to the bit, in bfloat16 too: what differs is the order in which chunks add up
    rounding = of_contrast(unit=FLOAT64 if precision == "float64" else FLOAT32)
    torch.testing.assert_close(loss, expected.detach(), rtol=rounding, atol=0)
    assert torch.equal(drawn, torch.rand(3, device=device))
    found, wanted = (joined(p.grad for module in both for p in module.parameters()) for both in (ours, theirs))
    assert distance(found, wanted) <= rounding
    for mine, other in zip(ours, theirs, strict=True):
        for buffer, same in zip(mine.buffers(), other.buffers(), strict=True):
            torch.testing.assert_close(buffer, same, rtol=1e-9, atol=0)


def test_chunks_keep_to_the_micro_batch_and_none_has_one_image() -> None:
    assert [chunk_count([128], micro) for micro in (0, 128, 500, 64, 50)] == [1, 1, 1, 2, 3]
    for images in range(2, 40):
        for micro in range(2, 40):
            sizes = [len(part) for part in torch.zeros(images).tensor_split(chunk_count([images], micro))]
            assert sum(sizes) == images
            assert min(sizes) >= 2
            assert max(sizes) <= max(micro, 3)


class Float(nn.Module):
    """Flattens uint8 views, and keeps the images of every pass."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(12, 5)
        self.seen: list[Tensor] = []

    def forward(self, images: Tensor) -> Tensor:
        self.seen.append(images)
        features: Tensor = self.linear(images.flatten(1).float() / 255)
        return features


def model(encode: nn.Module | None = None) -> nn.ModuleDict:
    torch.manual_seed(0)
    encode = encode or Float()
    return nn.ModuleDict({"encoder": encode, "projection": nn.Linear(5, 4), "classifier": nn.Linear(5, 3)})


def objectives(micro_batch: int) -> list[Objective]:
    pretrain, contrast = PretrainSettings(micro_batch=micro_batch), ContrastSettings()
    joint = FinetuneSettings(micro_batch=micro_batch, contrastive_weight=0.5, contrastive_weight_end=0.5)
    return [
        StageObjective(pretrain, contrast, torch.zeros(3), None),
        StageObjective(joint, contrast, torch.zeros(3), None),
    ]


@pytest.mark.parametrize("stage", [0, 1])
def test_both_stages_have_the_gradient_of_the_whole_batch(stage: int) -> None:
    views, labels = torch.randint(0, 256, (12, 2, 2, 2, 3)), torch.arange(12) // 4
    results = []
    for micro_batch in (0, 7):
        network = model()
        objective = objectives(micro_batch)[stage]
        loss, _ = objective.backward(network, views, labels, Step(0.0, 3, nullcontext))
        results.append((loss, joined(p.grad for p in network.parameters())))
    (loss, whole), (same, chunked) = results
    torch.testing.assert_close(same, loss, rtol=of_contrast(), atol=0)
    assert distance(chunked, whole) <= of_contrast()


@pytest.mark.parametrize("stage", [0, 1])
def test_a_class_sorted_batch_is_shuffled_before_it_is_cut_as_its_seed_says(stage: int) -> None:
    labels = torch.arange(12) // 4
    views = (labels * 100)[:, None, None, None, None].expand(12, 2, 2, 2, 3)  # the images tell their labels
    orders = []
    for seed in (3, 3, 4):
        encode = Float()
        objectives(8)[stage].backward(model(encode), views, labels, Step(0.0, seed, nullcontext))
        assert len(encode.seen) == 6  # three chunks, twice
        for first, second in zip(encode.seen[:3], encode.seen[3:], strict=True):
            assert torch.equal(first, second)
            assert len(first[:, 0, 0, 0].unique()) > 1
        orders.append(torch.cat(encode.seen[:3])[:, 0, 0, 0])
    assert torch.equal(orders[0], orders[1])
    assert not torch.equal(orders[0], orders[2])


@pytest.mark.parametrize("stage", [0, 1])
def test_the_extra_forward_counts_a_third_of_a_pass(stage: int) -> None:
    assert objectives(0)[stage].passes(30) == 30
    assert objectives(10)[stage].passes(30) == 40
    assert objectives(30)[stage].passes(30) == 30
