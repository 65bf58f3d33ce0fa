"""Arguments that do not fit are refused with a line that names what was given and what is needed."""

import math
from typing import Any

import numpy as np
import pytest
import torch

from supcon.losses import BalancedContrast, contrastive_bounds, contrastive_loss

LABELS = torch.tensor([0, 0, 1, 1])
MEMORY = torch.randn(3, 2)
Change = tuple[dict[str, Any], str]
OF_BOTH: list[Change] = [  # of the losses and of their bounds
    ({"labels": LABELS[:, None]}, r"labels must be an integer tensor \[N\] .* got torch.int64 \[4, 1\]"),
    ({"labels": [0, 0, 1, 1]}, "labels must be .* got a list"),
    ({"labels": torch.tensor([0, 1, -1, 1])}, "labels must not be negative, got -1"),
    *(
        ({"labels": LABELS.to(dtype)}, f"labels must be .* got {dtype}")
        for dtype in (torch.float32, torch.bool, torch.complex64, torch.uint16, torch.uint32, torch.uint64)
    ),
    *(
        ({"temperature": value}, "temperature must be a number from 1e-12 to ")
        for value in [0.0, -1.0, math.nan, math.inf, 1e-40, "0.1", None, torch.tensor(0.1)]
    ),
    *(
        ({"form": "eps_supcon", name: value}, f"{name} must be a number from 0 to ")
        for name in ("epsilon", "hardness")
        for value in [-0.1, math.nan, math.inf, "0", None]
    ),
    ({"form": "sideways"}, "form must be one of out, in, .* got 'sideways'"),
    ({"form": None}, "form must be .* got None"),
    ({"normalize": "no"}, "normalize must be True or False, got 'no'"),
    ({"normalize": None}, "normalize must be True or False, got None"),
    ({"epsilon": 0.1}, "epsilon belongs to the forms"),
    ({"hardness": 1.0, "form": "balanced"}, "'balanced' takes no hardness"),
]
OF_LOSSES: list[Change] = [
    ({"embeddings": torch.zeros(4)}, r"embeddings must be a floating point tensor \[N, D\].*got torch.float32 \[4\]"),
    ({"embeddings": torch.zeros(4, 0)}, r"embeddings must be .* D above 0, got torch.float32 \[4, 0\]"),
    ({"embeddings": torch.zeros(4, 2, dtype=torch.long)}, "embeddings must be"),
    ({"embeddings": torch.zeros(4, 2, dtype=torch.complex64)}, "embeddings must be .* got torch.complex64"),
    ({"embeddings": np.zeros((4, 2))}, "embeddings must be .* got a ndarray"),
    ({"embeddings": [[0.0, 1.0]] * 4}, "embeddings must be .* got a list"),
    ({"labels": LABELS[:3]}, r"labels must be \[4\], one for each of embeddings, got \[3\]"),
    ({"reduction": "none"}, "reduction must be one of mean, sum, got 'none'"),
    ({"reduction": None}, "reduction must be one of mean, sum, got None"),
    ({"memory": MEMORY}, "give both or neither"),
    ({"memory_labels": torch.zeros(3, dtype=torch.long)}, "give both or neither"),
    ({"memory": torch.randn(3, 5), "memory_labels": torch.arange(3)}, r"memory must be \[M, 2\]"),
    ({"memory": MEMORY, "memory_labels": torch.arange(2)}, "memory_labels must be"),
    ({"memory": MEMORY, "memory_labels": torch.tensor([0, -7, 1])}, "memory_labels must not be negative, got -7"),
]


@pytest.mark.parametrize(("change", "message"), OF_BOTH + OF_LOSSES)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"embeddings": torch.randn(4, 2), "labels": LABELS, **change}
    with pytest.raises(ValueError, match=message):
        contrastive_loss(**arguments)


@pytest.mark.parametrize(("change", "message"), OF_BOTH)
def test_bounds_refuse_what_their_losses_refuse(change: dict[str, Any], message: str) -> None:
    arguments: dict[str, Any] = {"labels": LABELS, "temperature": 0.1, **change}
    with pytest.raises(ValueError, match=message):
        contrastive_bounds(**arguments)


def test_bounds_refuse_labels_of_a_memory_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="memory_labels must not be negative, got -1"):
        contrastive_bounds(LABELS, 0.1, memory_labels=torch.tensor([-1]))


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8])
def test_labels_of_any_common_integer_type_are_taken(dtype: torch.dtype) -> None:
    z = torch.randn(4, 2)
    assert torch.equal(contrastive_loss(z, LABELS.to(dtype)), contrastive_loss(z, LABELS))
    assert contrastive_bounds(LABELS.to(dtype), 0.1) == contrastive_bounds(LABELS, 0.1)


def test_numbers_of_numpy_are_taken() -> None:
    z = torch.randn(4, 2)
    assert torch.equal(
        contrastive_loss(z, LABELS, temperature=np.float64(0.2)), contrastive_loss(z, LABELS, temperature=0.2)
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 4), "classes must be a whole number above 0, got 0"),
        ((-1, 4), "classes must be"),
        ((2.5, 4), "classes must be"),
        ((3, 0), "dim must be"),
        ((3, 4, 0.0), "temperature must be a number"),
    ],
)
def test_prototypes_that_cannot_be_are_refused(arguments: tuple[int, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BalancedContrast(*arguments)


def test_prototypes_refuse_options_that_they_do_not_have() -> None:
    with pytest.raises(ValueError, match="normalize must be True or False, got 'no'"):
        BalancedContrast(3, 4, normalize="no")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="reduction must be one of mean, sum, got 'none'"):
        BalancedContrast(3, 2)(torch.randn(4, 2), LABELS, reduction="none")
