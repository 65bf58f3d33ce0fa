"""Optimizers by timm's names, their parameter groups, and the schedule of their learning rates."""

import inspect
import warnings
from collections.abc import Iterable
from difflib import get_close_matches
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from supcon.errors import UserError
from supcon.settings.training import TrainSettings
from supcon.training.model.timm_import import timm

# params: list of parameters; weight_decay; lr_scale: the group's highest learning rate, as timm's schedules know it
Group = dict[str, Any]


def encoder_groups(backbone: nn.Module, lr: float, layer_decay: float, weight_decay: float) -> list[Group]:
    """Return parameter groups of a timm backbone: a layer's rate is `layer_decay` times that of the layer after it."""
    if layer_decay < 1 and hasattr(backbone, "group_matcher"):
        groups = timm.optim.param_groups_layer_decay(backbone, weight_decay=weight_decay, layer_decay=layer_decay)
    else:
        groups = timm.optim.param_groups_weight_decay(backbone, weight_decay=weight_decay)
    return [
        {"params": group["params"], "weight_decay": group["weight_decay"], "lr_scale": lr * group.get("lr_scale", 1.0)}
        for group in groups
    ]


def head_groups(heads: Iterable[nn.Module], lr: float, weight_decay: float) -> list[Group]:
    """Return parameter groups of heads."""
    return [group for head in heads for group in encoder_groups(head, lr, 1.0, weight_decay)]


def make_optimizer(groups: list[Group], settings: TrainSettings) -> torch.optim.Optimizer:
    """Return timm's optimizer of the name `train.optimizer` over `groups`; a `Schedule` sets its learning rates.

    Where there is a fused kernel it is used: with AdamW a step of a resnet10t takes 9 ms on one CPU core instead of 36.
    Raises `UserError` for a name that timm does not know, an option that the optimizer does not take, or a package
    that it lacks.
    """
    name, betas = settings.optimizer, settings.betas
    try:
        info = timm.optim.get_optimizer_info(name)
    except ValueError:
        known = [str(other) for other in timm.optim.list_optimizers()]
        common = [other for other in ("adamw", "sgd", "lamb", "lion", "muon") if other in known]
        similar = get_close_matches(name.lower(), known, n=5) or common
        raise UserError(f"--train.optimizer {name}: timm has no such optimizer, but {', '.join(similar)}") from None
    if info.second_order:
        raise UserError(f"--train.optimizer {name} needs second derivatives, which training does not make: use adamw")
    if name.lower() == "kron" and not find_spec("opt_einsum"):  # without it timm's takes 20 GB for 5 million weights
        raise UserError(
            "--train.optimizer kron needs opt_einsum: `pip install opt_einsum`, or use another, such as adamw"
        )
    if betas and len(betas) != (info.num_betas if info.has_betas else 0):
        takes = f"{info.num_betas} of them" if info.has_betas else "none"
        raise UserError(f"--train.betas {betas}: {name} takes {takes}: leave them out for its own")
    options: dict[str, Any] = {"betas": tuple(betas)} if betas else {}
    parameters = [group for group in groups if group["params"]]
    try:
        kind = timm.optim.get_optimizer_class(name, bind_defaults=False)
        if "fused" in inspect.signature(kind).parameters:
            options["fused"] = True
        return timm.optim.create_optimizer_v2(parameters, name, lr=1.0, momentum=settings.momentum, **options)
    except Exception as error:  # of what an optimizer needs installed, or does not take, in words of its own
        reason = " ".join(str(error).split())[:200]
        cure = "raise --train.momentum, or use adamw" if "momentum" in reason else "use another, such as adamw"
        raise UserError(f"--train.optimizer {name} cannot be made ({reason}): {cure}") from None


class Schedule:
    """The learning rates of an optimizer, set before each step of a stage, by timm's schedules or torch's.

    The stage's steps are part of a schedule of `steps` in all, in which `first` come before the stage.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, settings: TrainSettings, first: int, steps: int) -> None:
        """Take a new `optimizer`, before any state is loaded into it."""
        self.first = first
        warm = round(settings.warmup * steps)
        shared: dict[str, Any] = {"warmup_t": warm, "warmup_prefix": True, "t_in_epochs": False}
        self._timm: timm.scheduler.scheduler.Scheduler
        self._one_cycle: torch.optim.lr_scheduler.OneCycleLR | None = None
        match settings.schedule:
            case "cosine":  # one step longer than it is: the last step still moves
                self._timm = timm.scheduler.CosineLRScheduler(
                    optimizer, steps - warm + 1, lr_min=settings.final_lr, **shared
                )
            case "constant":
                self._timm = timm.scheduler.MultiStepLRScheduler(optimizer, [], **shared)
            case "one_cycle":
                self._one_cycle = _one_cycle(optimizer, steps, warm, settings.final_lr)
                with warnings.catch_warnings():  # torch checks once that the optimizer went first
                    warnings.simplefilter("ignore")
                    self._one_cycle.step()

    def set(self, step: int) -> None:
        """Set the learning rate of every group for the stage's `step`, counted from 0."""
        if self._one_cycle is None:
            self._timm.step_update(self.first + step + 1)  # counted from 1: the first step moves
        else:
            self._one_cycle.last_epoch = self.first + step - 1
            self._one_cycle.step()


def _one_cycle(
    optimizer: torch.optim.Optimizer, steps: int, warm: int, final_lr: float
) -> torch.optim.lr_scheduler.OneCycleLR:
    """Return torch's schedule: the momentum that was asked for, and 0.1 less of it at the highest learning rate."""
    defaults = optimizer.defaults
    momentum = defaults["betas"][0] if "betas" in defaults else defaults.get("momentum")
    start = 25.0  # the first learning rate is the highest one divided by it
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer,
        [group["lr_scale"] for group in optimizer.param_groups],
        total_steps=steps + 1,  # the last step still moves
        pct_start=warm / (steps + 1) if warm > 1 else 0.0,  # torch divides by warm - 1
        cycle_momentum=momentum is not None,
        max_momentum=momentum or 0,
        base_momentum=max(0, (momentum or 0) - 0.1),
        div_factor=start,
        final_div_factor=1 / (start * final_lr) if final_lr else float("inf"),
    )
