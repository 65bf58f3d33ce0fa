"""What does not fit is refused with a line that says what was given and what is needed."""

import math

import pytest
import torch

from supcon.losses import contrastive_loss


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embeddings": torch.zeros(4)}, r"embeddings must be floating point \[N, D\], got torch.float32 \[4\]"),
        ({"embeddings": torch.zeros(4, 2, dtype=torch.long)}, "embeddings must be"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"labels must be integers \[4\]"),
        ({"labels": torch.zeros(4)}, "labels must be"),
        ({"labels": torch.tensor([0, 1, -1, 1])}, "labels must not be negative, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"form": "sideways"}, "form must be one of out, in, .* got 'sideways'"),
        ({"epsilon": -0.1, "form": "eps_supcon"}, "epsilon must be 0 or more"),
        ({"epsilon": 0.1}, "epsilon belongs to the forms"),
        ({"hardness": -1.0}, "hardness must be 0 or more"),
        ({"hardness": 1.0, "form": "balanced"}, "'balanced' takes no hardness"),
        ({"memory": torch.randn(3, 2)}, "give both or neither"),
        ({"memory_labels": torch.zeros(3, dtype=torch.long)}, "give both or neither"),
        ({"memory": torch.randn(3, 5), "memory_labels": torch.arange(3)}, r"memory must be \[M, 2\]"),
        ({"memory": torch.randn(3, 2), "memory_labels": torch.arange(2)}, "memory_labels must be"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], said: str) -> None:
    arguments = {"embeddings": torch.randn(4, 2), "labels": torch.zeros(4, dtype=torch.long), **change}
    with pytest.raises(ValueError, match=said):
        contrastive_loss(**arguments)  # type: ignore[arg-type]
