"""Epochs that fit a time budget."""

import re

from supcon.errors import UserError
from supcon.settings.request import Request

EPOCHS = ("pretrain.epochs", "finetune.epochs")
_UNITS = {"d": 86_400, "h": 3600, "m": 60, "min": 60, "s": 1}
_PART = r"(\d+(?:\.\d+)?)\s*(d|h|min|m|s)"  # a number and its unit


def parse_budget(text: str, setting: str = "--time_budget") -> float:
    """Return the seconds of a time such as `2h`, `90m`, `1h30m` or `45s`; `UserError` for anything else."""
    if not re.fullmatch(rf"(?:{_PART}\s*)+", text):
        raise UserError(f"{setting} {text}: write it as 2h, 90m or 1h30m")
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(_PART, text))


def budget_of(request: Request) -> float:
    """Return the seconds of `time_budget`, 0 without one. Raises `UserError` where epochs are given beside it."""
    budget = parse_budget(request.settings.time_budget) if request.settings.time_budget else 0.0
    given = [key for key in EPOCHS if key in request.given]
    if budget and given:
        raise UserError(f"--time_budget chooses the epochs: leave out --{given[0]}, or the budget")
    return budget


def fit_epochs(budget: float, folds: int, fixed: float, stages: list[tuple[int, float]]) -> list[int]:
    """Return the epochs of each stage that `folds` folds finish within `budget` seconds.

    `fixed` seconds a fold do not depend on epochs; `stages` are (epochs as set, seconds an epoch) and keep their
    proportion. A stage without epochs stays without. Raises `UserError` where not even one epoch fits.
    """
    training = budget / folds - fixed
    planned = sum(epochs * seconds for epochs, seconds in stages)
    fitted = [max(1, int(epochs * training / planned)) if epochs else 0 for epochs, _ in stages]
    needed = sum(epochs * seconds for epochs, (_, seconds) in zip(fitted, stages, strict=True))
    if needed > training:
        least = folds * (fixed + sum(seconds for epochs, seconds in stages if epochs))
        raise UserError(
            f"--time_budget {duration(budget)} is too short: one epoch of each stage in {folds} folds takes"
            f" {duration(least)}; raise it, or take a smaller --data.image_size or --model.encoder"
        )
    return fitted


def duration(seconds: float) -> str:
    """Return seconds as people say them: 45 s, 12 min, 3 h 20 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"
