"""Two processes give the loss and the gradient of one (identity 4 of the losses)."""

import os
import subprocess
import sys

import pytest
import torch

from supcon.losses import contrastive_loss
from supcon.losses.distributed import distributed_contrastive_loss, gather
from tests.conftest import REPOSITORY
from tests.losses.two_processes import CASES, OPTIONS


@pytest.mark.slow
def test_two_processes_have_the_loss_and_gradient_of_the_joint_batch() -> None:
    """By torchrun over the loopback device; `two_processes.py` compares, for every case, form and set of options."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    environment = {"PYTHONPATH": "src", "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    result = subprocess.run(
        [*command, "tests/losses/two_processes.py"],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines() == [f"{name}, {described}: equal" for name in CASES for described in OPTIONS]
    assert "deprecated" not in result.stderr


def test_one_process_alone_keeps_its_own_tensors() -> None:
    embeddings, labels = torch.randn(6, 3), torch.arange(6) % 2
    assert gather(embeddings, labels)[0] is embeddings
    assert gather(embeddings, labels)[1] is labels
    loss = distributed_contrastive_loss(embeddings, labels, form="in", temperature=0.3)
    assert torch.equal(loss, contrastive_loss(embeddings, labels, form="in", temperature=0.3))


def test_shapes_that_do_not_fit_are_refused_before_anything_is_sent() -> None:
    with pytest.raises(ValueError, match=r"embeddings must be \[n, D\] and labels \[n\], not \[4, 2\] and \[3\]"):
        gather(torch.zeros(4, 2), torch.zeros(3))
    with pytest.raises(ValueError, match=r"not \[4\] and \[4\]"):
        gather(torch.zeros(4), torch.zeros(4))
