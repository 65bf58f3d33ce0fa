"""How images grow through the epochs: Tan and Le 2021 (arXiv 2104.00298), section 4."""

from typing import Literal

from supcon.settings.settings import Settings

StageName = Literal["pretrain", "finetune"]

_STEP = 16  # pixels by which images grow, about


def image_sides(settings: Settings, stage: StageName, patch: int) -> list[int]:
    """Return the side of the images in each epoch of a stage, pixels; stages of one schedule grow them together.

    They are multiples of the encoder's `patch`, where `data.image_size` is.
    """
    first, last, epochs = settings.train.first_size, settings.data.image_size, getattr(settings, stage).epochs
    step = growing_step(patch)
    if not settings.shares_schedule:
        return growing_sides(first, last, epochs, step)
    sides = growing_sides(first, last, settings.pretrain.epochs + settings.finetune.epochs, step)
    return sides[:epochs] if stage == "pretrain" else sides[-epochs:]


def growing_step(patch: int) -> int:
    """Return by how many pixels images grow for an encoder that cuts them into patches of `patch` pixels."""
    return patch * max(1, round(_STEP / patch))


def growing_sides(first: int, last: int, epochs: int, step: int) -> list[int]:
    """Return the side of the images in each of `epochs` epochs, pixels.

    The side grows evenly from `first` to `last`, in steps of `step` pixels; the last third of the epochs have `last`.
    With `first` 0 all epochs have `last`.
    """
    growing = round(2 / 3 * (epochs - 1))  # epochs before the last side is reached
    shares = [min(1.0, epoch / growing) if growing and first else 1.0 for epoch in range(epochs)]  # of the growth
    return [last - int((last - first) * (1 - share)) // step * step for share in shares]
