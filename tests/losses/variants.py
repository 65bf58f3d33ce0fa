"""The forms with their options, and random batches, for the tests of the losses."""

from typing import Any

import pytest
import torch
from torch import Tensor

from tests.losses.reference import FORMS
from tests.rounding import FLOAT32, of_contrast

Options = dict[str, Any]
# every form alone, with hardness where it takes one, and the epsilon forms with a margin
VARIANTS: list[Options] = [
    *({"form": form} for form in FORMS),
    *({"form": form, "hardness": 1.0} for form in FORMS if form != "balanced"),
    *({"form": form, "epsilon": 0.7} for form in ("eps_infonce", "eps_supcon")),
    {"form": "out", "hardness": 5.0},
    {"form": "eps_supcon", "epsilon": 0.25, "hardness": 0.5},
]


def name_of(variant: Options) -> str:
    return "-".join(str(value) for value in variant.values())


each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=name_of)
AS_THEY_ARE: list[Options] = [{**variant, "normalize": False} for variant in VARIANTS]
each_variant_as_it_is = pytest.mark.parametrize("variant", AS_THEY_ARE, ids=name_of)
each_variant_of_any_length = pytest.mark.parametrize("variant", VARIANTS + AS_THEY_ARE, ids=name_of)


def batch(seed: int, items: int = 14, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(items, 6, generator=generator, dtype=torch.float64)
    return z.requires_grad_(), torch.randint(classes, (items,), generator=generator)


def memory_of(seed: int) -> Options:
    keys, labels = batch(seed + 100, items=9, classes=6)  # classes 4 and 5 are in the memory alone
    return {"memory": keys.detach(), "memory_labels": labels}


def rounding_of(options: Options, unit: float = FLOAT32, length: float = 1.0) -> float:
    """How far a loss of these options and its gradient may be off, relative to them.

    `length` is that of the longest embedding, where the options take embeddings as they are.
    """
    return of_contrast(options.get("temperature", 0.1), options.get("hardness", 0.0), unit, length)
