"""Scores with their intervals, what each step added, and how they scatter."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from matplotlib.figure import Figure

Interval = tuple[float, float, float]  # score, low, high


@dataclass(frozen=True)
class Gain:
    """What a step adds to a score."""

    name: str
    value: float
    standard_error: float = float("nan")  # nan: not known
    used: bool = True  # False: tried, drawn hollow, and the next step starts from before it


def score_intervals(
    series: Mapping[str, Mapping[str, Interval]], metric: str = "macro-F1", title: str = "", note: str = ""
) -> Figure:
    """Draw a line a name (folds and pooled, or runs), with a point and its interval for each series.

    `series`: such as {"cross-fitted": {"fold 0": (score, low, high), ..., "pooled": ...}, "raw": {...}}; the first one
    stands out. Names keep the order of the first series; a name that a series lacks has no point in it. `note`: what
    the intervals are, written below.
    """
    raise NotImplementedError


def ladder(
    start: float, gains: Sequence[Gain], metric: str = "macro-F1", title: str = "", begin: str = "start"
) -> Figure:
    """Draw a waterfall: from the score `start`, named `begin`, what each step added, with its standard error."""
    raise NotImplementedError


def stability(
    scores: Mapping[str, Sequence[float]], metric: str = "macro-F1", title: str = "", over: str = "seed"
) -> Figure:
    """Draw a line a run or setting ("lr 0.001"): a dot for each score (of a seed, say), their mean and its sd.

    `over` says what the dots are. Scores that are nan (failed) are left out.
    """
    raise NotImplementedError
