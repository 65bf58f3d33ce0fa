"""What each of the two processes of test_distributed.py does: its loss and gradient against those of one process.

PYTHONPATH=src python -m torch.distributed.run --standalone --nproc-per-node 2 tests/losses/two_processes.py
"""

import os
from typing import get_args

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from supcon.losses.contrastive import Form, LossOptions, contrastive_loss
from supcon.losses.distributed import distributed_contrastive_loss, gather

FORMS: tuple[Form, ...] = get_args(Form)
OPTIONS: dict[str, LossOptions] = {
    **{form: LossOptions(form=form) for form in FORMS},
    **{f"{form}, as they are, summed": LossOptions(form=form, normalize=False, reduction="sum") for form in FORMS},
}
CASES: dict[str, tuple[list[int], list[int]]] = {  # the labels of each process
    "equal shares": ([0, 0, 1, 1, 2, 2], [0, 1, 1, 2, 2, 2]),
    "unequal shares": ([0, 0, 1, 1, 2, 2, 0, 1], [2, 1, 0]),
    "a process without items": ([0, 0, 1, 1, 2], []),
    "unequal numbers of valid anchors": ([0, 0, 1, 1, 0, 1], [2, 2, 3, 4, 5, 6]),
    "a process without valid anchors": ([0, 0, 1, 1, 0, 1], [7, 8, 9]),
    "positives only in the other process": ([0, 1, 2, 3], [3, 2, 1, 0]),
    "no valid anchor anywhere": ([0, 1, 2], [3, 4]),
}


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    loss.backward()
    grads = [parameter.grad for parameter in model.parameters()]
    return [gradient.clone() for gradient in grads if gradient is not None]


def compare(name: str, options: LossOptions) -> None:
    """Assert that loss and averaged parameter gradients are those of one process with the joint batch."""
    rank = dist.get_rank()
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 4)).double()
    shares = [torch.tensor(labels, dtype=torch.long) for labels in CASES[name]]
    labels = torch.cat(shares)
    images = torch.randn(len(labels), 5, dtype=torch.float64)
    own = images.split([len(share) for share in shares])[rank]

    expected = contrastive_loss(model(images), labels, **options)
    wanted = gradients(model, expected)
    model.zero_grad()
    wrapped = DistributedDataParallel(model)  # averages gradients while it lives
    embeddings = wrapped(own)
    loss = distributed_contrastive_loss(embeddings, shares[rank], **options)
    torch.testing.assert_close(loss, expected)
    torch.testing.assert_close(gradients(model, loss), wanted)

    everything, all_labels = gather(embeddings.detach(), shares[rank])
    torch.testing.assert_close(everything, model(images).detach())
    assert torch.equal(all_labels, labels)


def main() -> None:
    dist.init_process_group("gloo")
    for name in CASES:
        for described, options in OPTIONS.items():
            compare(name, options)
            if dist.get_rank() == 0:
                print(f"{name}, {described}: equal", flush=True)
    dist.barrier()
    dist.destroy_process_group()
    os._exit(0)  # gloo's threads sometimes abort the interpreter's own way out, after all is compared (torch 2.13)


if __name__ == "__main__":
    main()
