"""GradCache: the exact gradient of a batch that is far too large for memory.

Gao et al. 2021, "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup" (arXiv 2101.06983), in three
steps: encode the batch chunk by chunk without a graph; take the gradient of the loss with respect to all features;
encode each chunk again, now with a graph and the same random state, and go backward from the gradient of its features.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn

from supcon.training.ranks import unwrap, without_averaging

Context = Callable[[], AbstractContextManager[object]]


def chunk_count(images: Sequence[int], micro_batch: int) -> int:
    """Return the number of chunks that hold at most `micro_batch` images each, and two at least; one chunk for 0.

    `images` are the numbers of images of all processes, each of which cuts its own into that many chunks.
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
    scaled: Callable[[Tensor], Tensor] = lambda loss: loss,
) -> Tensor:
    """Add the gradient of `scaled(loss_of(encoder(images)))` to all parameters; return the loss unscaled and detached.

    The encoder takes `images` [N, ...] in `chunks` chunks of nearly equal size; `loss_of` is called once, with the
    features [N, D] of all images. Batch norm uses the statistics of each chunk and updates its running statistics once
    a chunk. Each forward pass enters `autocast()` anew, because autocast keeps cast weights that are not part of a
    later pass's graph. Several processes each bring their own images in the same number of chunks; the gradient is
    averaged over processes in the backward pass of the last chunk.
    """
    if chunks == 1:
        with autocast():
            loss = loss_of(encoder(images))
        _backward(encoder, scaled(loss))
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
            buffer.copy_(before)  # the second pass updates the running statistics

    leaf = torch.cat(features).requires_grad_()
    with autocast():
        loss = loss_of(leaf)
    scaled(loss).backward()
    after = _random_state(images.device)
    assert leaf.grad is not None
    for number, (part, state, gradient) in enumerate(zip(parts, states, leaf.grad.tensor_split(chunks), strict=True)):
        _set_random_state(state, images.device)
        with without_averaging(encoder) if number + 1 < chunks else nullcontext():
            with autocast():
                again = encoder(part)
            _backward(encoder, again, gradient)
    _set_random_state(after, images.device)
    return loss.detach()


def _backward(encoder: nn.Module, output: Tensor, gradient: Tensor | None = None) -> None:
    """Go backward. What an encoder computes again meanwhile does not count again in its running statistics."""
    recomputes = getattr(unwrap(encoder), "recomputes", False)
    before = [buffer.clone() for buffer in encoder.buffers()] if recomputes else []
    output.backward(gradient)
    for buffer, value in zip(encoder.buffers() if recomputes else (), before, strict=True):
        buffer.copy_(value)


def _random_state(device: torch.device) -> list[Tensor]:
    """Return the states of the streams that dropout and stochastic depth draw from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def _set_random_state(state: list[Tensor], device: torch.device) -> None:
    torch.set_rng_state(state[0])
    if device.type == "cuda":
        torch.cuda.set_rng_state(state[1], device)
