"""A queue of labelled keys of earlier batches: He et al. 2020, "Momentum Contrast" (arXiv 1911.05722), with labels."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from supcon.training.gradcache import Context
from supcon.training.model.timm_import import timm
from supcon.training.ranks import unwrap


class KeyQueue:
    """A queue of the last `size` keys with their labels, and the momentum network that makes them.

    The queue starts empty. Its keys are further columns without gradient in A(i) and P(i) of every anchor, so the
    earlier key of an image is one of its positives. After the loss of a batch, the weights of the momentum network
    become `momentum` x themselves + (1 - `momentum`) x the model's weights. Then its keys of the batch's images, before
    any mixing, enter the queue, and the oldest keys leave it. As in the paper the momentum network is in training mode:
    its batch norm uses the statistics of the batch (with GradCache: of the chunk).
    """

    def __init__(self, model: nn.ModuleDict, size: int, momentum: float) -> None:
        """Begin the momentum network as a copy of the model's `encoder` and `projection`."""
        self._size = size
        self._network = timm.utils.ModelEmaV3(_network(model), decay=momentum)
        self._network.module.train()
        self.keys: Tensor | None = None  # as the projection made them, float32 [M, D]; None while the queue is empty
        self.labels: Tensor | None = None  # of the keys, [M], on the CPU

    @torch.no_grad()
    def enqueue(
        self,
        model: nn.ModuleDict,
        images: Tensor,
        labels: Tensor,
        chunks: int,
        autocast: Context,
        joined: Callable[[Tensor], Tensor] = lambda rows: rows,
    ) -> None:
        """Update the momentum network, and take its keys of `images` [N, ...], encoded in `chunks` chunks.

        `joined` turns this process's rows (keys or labels, one an image) into those of the whole batch, in its order.
        """
        self._network.update(_network(model))
        encoder, projection = self._network.module
        with autocast():
            embeddings = projection(torch.cat([encoder(part) for part in images.tensor_split(chunks)]))
        new_keys, labels = joined(embeddings.float()), joined(labels)
        if self.keys is not None and self.labels is not None:
            new_keys, labels = torch.cat([self.keys, new_keys]), torch.cat([self.labels, labels])
        self.keys, self.labels = new_keys[-self._size :], labels[-self._size :]

    def state_dict(self) -> dict[str, Any]:
        """Return the queue and the momentum network for a checkpoint."""
        return {"network": self._network.module.state_dict(), "keys": self.keys, "labels": self.labels}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over the queue and the momentum network from a checkpoint."""
        self._network.module.load_state_dict(state["network"])
        device = next(self._network.module.parameters()).device
        self.keys = None if state["keys"] is None else state["keys"].to(device)
        self.labels = state["labels"]


def _network(model: nn.ModuleDict) -> nn.Sequential:
    return nn.Sequential(unwrap(model["encoder"]), unwrap(model["projection"]))
