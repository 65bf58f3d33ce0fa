"""GradCache: the exact gradient of a batch far larger than what fits into memory at once.

Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (arXiv 2101.06983): the
encoder sees the batch chunk by chunk without a graph, the loss's gradient with respect to the features is taken, then
every chunk is encoded again, with the same random state, and the gradient goes on from its features.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from supcon.training.ranks import without_averaging

Context = Callable[[], AbstractContextManager[object]]


def chunk_count(images: Sequence[int], micro_batch: int) -> int:
    """Return how many chunks keep to `micro_batch` images each (0: one chunk); none holds a single image.

    `images` are how many each process has: all cut theirs into as many.
    """
    if micro_batch == 0:
        return 1
    return max(1, min(-(-max(images) // micro_batch), min(images) // 2))


def backward(
    encoder: nn.Module,
    images: Tensor,
    loss_of: Callable[[Tensor], Tensor],
    chunks: int = 1,
    autocast: Context = nullcontext,
) -> Tensor:
    """Add the gradient of `loss_of(encoder(images))` to all parameters behind it; return the loss, a detached scalar.

    `images` [N, ...] go through the encoder in `chunks` parts of nearly equal size; `loss_of` sees the features [N, D]
    of them all, once. Batch norm takes its statistics per chunk and updates its running ones once a chunk. Forward
    passes run within `autocast()`, entered anew for each: its cache of cast weights would lose their graph. Of several
    processes each has its own images and as many chunks; the gradient is averaged over them with the last chunk.
    """
    if chunks == 1:
        with autocast():
            loss = loss_of(encoder(images))
        loss.backward()
        return loss.detach()

    parts = images.tensor_split(chunks)
    buffers = [buffer.clone() for buffer in encoder.buffers()]
    states, features = [], []
    with torch.no_grad():
        for part in parts:
            states.append(_random_state(images.device))
            with autocast():
                features.append(encoder(part))
        for buffer, before in zip(encoder.buffers(), buffers, strict=True):
            buffer.copy_(before)  # running statistics: the second pass updates them

    leaf = torch.cat(features).requires_grad_()
    with autocast():
        loss = loss_of(leaf)
    loss.backward()
    after = _random_state(images.device)
    assert leaf.grad is not None
    for number, (part, state, gradient) in enumerate(zip(parts, states, leaf.grad.tensor_split(chunks), strict=True)):
        _set_random_state(state, images.device)
        with without_averaging(encoder) if number + 1 < chunks else nullcontext():
            with autocast():
                again = encoder(part)
            again.backward(gradient)
    _set_random_state(after, images.device)
    return loss.detach()


def _random_state(device: torch.device) -> list[Tensor]:
    """Return the streams that dropout and stochastic depth draw from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random_state(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
