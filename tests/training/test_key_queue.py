"""The queue starts empty and keeps the newest keys with their labels; its network follows the model slowly."""

from contextlib import nullcontext

import pytest
import torch
from torch import Tensor, nn

from supcon.losses import contrastive_loss
from supcon.settings.training import ContrastSettings, PretrainSettings
from supcon.training.key_queue import KeyQueue
from supcon.training.loop import Step
from supcon.training.objectives import StageObjective
from tests.rounding import distance, joined, of_contrast
from tests.training.test_gradcache import model


def step(seed: int = 0) -> Step:
    return Step(0.0, seed, nullcontext)


def batch(number: int, images: int = 6) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(number)
    views = torch.randint(0, 256, (images, 1, 2, 2, 3), generator=generator)
    return views, torch.randint(3, (images,), generator=generator)


def held_out(encoder: nn.Module) -> tuple[Tensor, Tensor]:
    return torch.zeros(1, 5), torch.zeros(1)


def pretraining(queue: KeyQueue | None, normalize: bool = True, **settings: float) -> StageObjective:
    stage, contrast = PretrainSettings(**settings), ContrastSettings(normalize=normalize)  # type: ignore[arg-type]
    return StageObjective(stage, contrast, torch.zeros(3), held_out, queue)


def embed(network: nn.ModuleDict, views: Tensor) -> Tensor:
    with torch.no_grad():
        embeddings: Tensor = network["projection"](network["encoder"](views.flatten(0, 1)))
        return embeddings


def test_the_queue_starts_empty_and_keeps_the_newest_keys_first_in_first_out() -> None:
    network = model()
    queue = KeyQueue(network, 8, momentum=0.0)  # keys of the model itself
    assert queue.keys is None
    assert queue.labels is None
    for number in range(3):
        views, labels = batch(number)
        queue.enqueue(network, views.flatten(0, 1), labels, 1, nullcontext)
    assert queue.keys is not None
    assert queue.labels is not None
    everything = torch.cat([embed(network, batch(number)[0]) for number in range(3)])
    torch.testing.assert_close(queue.keys, everything[-8:])
    assert torch.equal(queue.labels, torch.cat([batch(number)[1] for number in range(3)])[-8:])


def test_a_queue_shorter_than_the_batch_keeps_its_end() -> None:
    network = model()
    queue = KeyQueue(network, 4, momentum=0.5)
    views, labels = batch(0)
    queue.enqueue(network, views.flatten(0, 1), labels, 1, nullcontext)
    assert queue.labels is not None
    assert torch.equal(queue.labels, labels[-4:])


def test_the_momentum_network_moves_its_part_of_the_way() -> None:
    network = model()
    queue = KeyQueue(network, 100, momentum=0.75)
    before = embed(network, batch(0)[0])
    start = network["projection"].weight.detach().clone()  # type: ignore[operator]
    with torch.no_grad():
        network["projection"].weight.add_(1.0)  # type: ignore[operator]
    views, labels = batch(0)
    queue.enqueue(network, views.flatten(0, 1), labels, 1, nullcontext)
    expected = model()
    expected["projection"].weight = nn.Parameter(start + 0.25)
    assert queue.keys is not None
    torch.testing.assert_close(queue.keys, embed(expected, batch(0)[0]))
    assert not torch.allclose(queue.keys, before)


@pytest.mark.parametrize("normalize", [True, False])
def test_the_queue_joins_the_loss_without_gradient_and_the_batch_enters_after_it(normalize: bool) -> None:
    network = model()
    queue = KeyQueue(network, 100, momentum=0.9)
    objective = pretraining(queue, normalize)
    views, labels = batch(0)
    loss, _ = objective.backward(network, views, labels, step())
    z = network["projection"](network["encoder"](views.flatten(0, 1)))
    expected = contrastive_loss(z, labels, normalize=normalize)  # nothing in the queue yet
    rounding = of_contrast(length=1.0 if normalize else z.norm(dim=1).max().item())
    torch.testing.assert_close(loss, expected.detach(), rtol=rounding, atol=0)
    keys, key_labels = queue.keys, queue.labels
    assert keys is not None
    assert key_labels is not None
    assert len(keys) == 6

    views, labels = batch(1)
    network.zero_grad()
    loss, metrics = objective.backward(network, views, labels, step())
    gradient = joined(p.grad for p in network.parameters())
    network.zero_grad()
    z = network["projection"](network["encoder"](views.flatten(0, 1)))
    expected = contrastive_loss(z, labels, normalize=normalize, memory=keys, memory_labels=key_labels)
    expected.backward()
    rounding = of_contrast(length=1.0 if normalize else torch.cat([z, keys]).norm(dim=1).max().item())
    torch.testing.assert_close(loss, expected.detach(), rtol=rounding, atol=0)
    assert distance(gradient, joined(p.grad for p in network.parameters())) <= rounding
    assert metrics["collapse"] == pytest.approx(torch.tensor(11.0).log().item())  # N - 1 + M
    assert not keys.requires_grad


def test_with_gradcache_the_keys_are_made_in_chunks_of_the_same_shuffled_batch() -> None:
    network = model()
    queue = KeyQueue(network, 100, momentum=0.0)
    views, labels = batch(0, images=9)
    pretraining(queue, micro_batch=4).backward(network, views, labels, step())
    assert queue.keys is not None
    assert queue.labels is not None
    momentum_encoder = queue._network.module[0]
    assert [len(part) for part in momentum_encoder.seen] == [3, 3, 3]
    for key, label in zip(queue.keys, queue.labels, strict=True):  # each image's key has that image's label
        nearest = (embed(network, views) - key).norm(dim=1).argmin()
        assert labels[nearest] == label


def test_keys_are_of_the_images_before_they_are_mixed() -> None:
    network = model()
    queue = KeyQueue(network, 100, momentum=0.0)
    views, labels = batch(0)
    objective = pretraining(queue, mixup=1.0)
    for _ in range(3):  # a weight may be near 1
        objective.backward(network, views, labels, step())
    assert queue.keys is not None
    torch.testing.assert_close(queue.keys, embed(network, views).repeat(3, 1))


def test_keys_are_made_by_the_batchs_own_statistics() -> None:
    network = model()
    network["projection"] = nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4))
    queue = KeyQueue(network, 100, momentum=0.9)
    views, labels = batch(0)
    with torch.no_grad():
        expected = network.train()["projection"](network["encoder"](views.flatten(0, 1)))
    queue.enqueue(network, views.flatten(0, 1), labels, 1, nullcontext)
    assert queue.keys is not None
    torch.testing.assert_close(queue.keys, expected)


def test_the_momentum_encoders_forward_counts_a_third_of_a_pass() -> None:
    queue = KeyQueue(model(), 10, 0.9)
    assert pretraining(queue).passes(30) == 40
    assert pretraining(queue, micro_batch=10).passes(30) == 50


def test_the_state_restores_queue_and_momentum_network() -> None:
    network = model()
    objective = pretraining(KeyQueue(network, 10, 0.9))
    fresh = pretraining(KeyQueue(model(), 10, 0.9))
    fresh.load_state_dict(pretraining(KeyQueue(model(), 10, 0.9)).state_dict())  # of an empty queue
    for number in range(2):
        objective.backward(network, *batch(number), step())
    with torch.no_grad():
        network["projection"].weight.add_(1.0)  # type: ignore[operator]
    fresh.load_state_dict(objective.state_dict())
    losses = [pretrainer.backward(network, *batch(5), step())[0] for pretrainer in (objective, fresh)]
    assert torch.equal(*losses)
    losses = [pretrainer.backward(network, *batch(6), step())[0] for pretrainer in (objective, fresh)]
    assert torch.equal(*losses)
