"""What the losses cost in memory, and that the tiles that save it change nothing."""

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive_loss, logsumexp, positives
from tests.losses.variants import Options, batch, each_variant_of_any_length, memory_of


@each_variant_of_any_length
@pytest.mark.parametrize("temperature", [0.01, 0.2])  # running sums, direct sums
def test_any_tile_size_gives_the_same_value_and_gradient(
    variant: Options, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, labels = batch(4, items=23)
    options = {**variant, "temperature": temperature, **memory_of(4)}
    results = []
    for rows, columns, strip in ((512, 2048, 256), (5, 7, 3), (1, 1, 1), (30, 4, 9)):
        monkeypatch.setitem(logsumexp.TILES, "cpu", (rows, columns))
        monkeypatch.setitem(positives.TILES, "cpu", (strip, columns))
        loss = contrastive_loss(z, labels, **options)
        results.append((loss, *torch.autograd.grad(loss, z)))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


@each_variant_of_any_length
@pytest.mark.parametrize(("classes", "remembers"), [(1, True), (50, False)], ids=["one class", "without memory"])
def test_no_tensor_grows_with_the_square_of_the_batch(variant: Options, classes: int, remembers: bool) -> None:
    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, Tensor):
                    self.size = max(self.size, tensor.numel())
            return result

    items = 2400
    z, labels = torch.randn(items, 8, requires_grad=True), torch.arange(items) % classes
    memory: Options = {"memory": torch.randn(items, 8), "memory_labels": labels} if remembers else {}
    with Largest() as largest:
        contrastive_loss(z, labels, **variant, **memory).backward()
    assert largest.size <= 512 * 2048 < items**2 / 5


@each_variant_of_any_length
@pytest.mark.parametrize(("classes", "remembers"), [(1, True), (50, False)], ids=["one class", "without memory"])
def test_what_is_kept_for_backward_doubles_with_the_batch(variant: Options, classes: int, remembers: bool) -> None:
    def kept(items: int) -> int:
        storages = {}  # with their tensors, so that no address comes twice

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        z, labels = torch.randn(items, 8, requires_grad=True), torch.arange(items) % classes
        memory: Options = {"memory": torch.randn(items, 8), "memory_labels": labels} if remembers else {}
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            contrastive_loss(z, labels, **variant, **memory)
        return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())

    assert kept(2000) < 2.1 * kept(1000)
