"""The encoder's first groups of layers can stay as they are."""

from typing import Any, cast

from torch import nn

from supcon.errors import UserError
from supcon.training.model.timm_import import timm


def freeze_first_groups(backbone: nn.Module, count: int, encoder: str) -> list[nn.Module]:
    """Freeze the first `count` groups of layers, as timm numbers them; return the modules whose weights now stay.

    Raises `UserError` where there are not more groups.
    """
    if count == 0:
        return []
    if not hasattr(backbone, "group_matcher"):
        raise UserError(f"--model.frozen_groups {count}: timm knows no groups of layers of {encoder}: set it to 0")
    matcher = cast(Any, backbone).group_matcher(coarse=True)
    group_of = timm.models.group_parameters(backbone, matcher, reverse=True)
    groups = len(set(group_of.values()))
    if count >= groups:
        raise UserError(
            f"--model.frozen_groups {count}: {encoder} has {groups} groups of layers: use at most {groups - 1}"
        )
    for name, parameter in backbone.named_parameters():
        if group_of[name] < count:
            parameter.requires_grad_(False)
    return [module for module in backbone.modules() if _stays(module)]


def _stays(module: nn.Module) -> bool:
    own = list(module.parameters())
    return bool(own) and not any(parameter.requires_grad for parameter in own)
