"""A numeric setting's bounds stand on its field: both bounds are allowed values."""

import dataclasses
from collections.abc import Iterator
from typing import Any, TypeVar

Number = TypeVar("Number", int, float)


def bounded(default: Number, smallest: float, largest: float) -> Number:
    """Return a dataclass field with a default and the smallest and largest value that a run can use."""
    field: Any = dataclasses.field(default=default, metadata={"bounds": (smallest, largest)})
    return field  # declared as its value, as `dataclasses.field` is


def bounds_of(settings: Any) -> Iterator[tuple[str, tuple[float, float]]]:
    """Yield the dotted key of every numeric setting of a dataclass, sections included, with its bounds."""
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if dataclasses.is_dataclass(value):
            yield from ((f"{field.name}.{key}", bounds) for key, bounds in bounds_of(value))
        elif "bounds" in field.metadata:
            yield field.name, field.metadata["bounds"]


def out_of_bounds(settings: Any) -> Iterator[str]:
    """Yield what is wrong with each setting outside its bounds."""
    for key, (smallest, largest) in bounds_of(settings):
        section, _, name = key.rpartition(".")
        value = getattr(getattr(settings, section) if section else settings, name)
        if not smallest <= value <= largest:
            yield f"--{key} {value} is out of bounds: {smallest:g} to {largest:g}"
