"""LoRA: matrices of low rank beside the encoder's weights are learned in their place, and added to them in the end.

Hu et al. 2021 (arXiv 2106.09685): a layer's weight W stays, and B A is learned beside it. Whatever reads the weights
afterwards sees a plain encoder. By peft, which is needed for this alone.
"""

import sys
from importlib.util import find_spec
from typing import cast

from torch import nn

from supcon.errors import UserError

_PEFT = "peft==0.21.2"
_SCALE = 2  # of B A, whatever the rank: peft's lora_alpha / r


def add_lora(backbone: nn.Module, rank: int) -> None:
    """Put matrices of that rank beside every linear layer and ungrouped convolution that is trained; these alone are.

    Raises `UserError` where peft is not installed.
    """
    if not find_spec("peft"):
        raise UserError(f"--model.lora_rank {rank} needs peft: {sys.executable} -m pip install {_PEFT}, or set it to 0")
    from peft import LoraConfig, inject_adapter_in_model

    names = [
        name
        for name, module in backbone.named_modules()
        if type(module) in (nn.Linear, nn.Conv2d)
        and cast(nn.Linear, module).weight.requires_grad
        and getattr(module, "groups", 1) == 1
    ]
    config = LoraConfig(r=rank, lora_alpha=_SCALE * rank, target_modules=names)
    inject_adapter_in_model(config, backbone)


def merge_lora(model: nn.Module) -> None:
    """Add what was learned beside the weights to them; the model then is what it was before `add_lora`."""
    for name, module in list(model.named_modules()):
        if hasattr(module, "get_base_layer") and hasattr(module, "merge"):
            module.merge()
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, module.get_base_layer())
