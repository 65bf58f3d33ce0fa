"""Epochs that fit a time budget."""

import pytest

from supcon.errors import UserError
from supcon.settings.budget import duration, fit_epochs, parse_budget


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 7200), ("90m", 5400), ("90 min", 5400), ("1h30m", 5400), ("45s", 45), ("1.5d", 129_600)],
)
def test_times_are_read_as_people_write_them(text: str, seconds: float) -> None:
    assert parse_budget(text) == seconds


@pytest.mark.parametrize("text", ["", "2", "h", "-2h", "2 weeks", "2h later"])
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UserError, match="write it as 2h, 90m or 1h30m"):
        parse_budget(text)


def test_epochs_keep_their_proportion_and_stay_within_the_budget() -> None:
    stages = [(6, 2.0), (20, 3.0)]
    fitted = fit_epochs(1000, 5, 20, stages)
    assert fitted == [15, 50]  # 180 s a fold for what would take 72
    assert sum(epochs * seconds for epochs, (_, seconds) in zip(fitted, stages, strict=True)) <= 1000 / 5 - 20
    assert fit_epochs(1000, 5, 20, [(0, 2.0), (20, 3.0)]) == [0, 60]


def test_a_budget_without_room_for_one_epoch_says_what_it_takes() -> None:
    with pytest.raises(UserError, match="60 s is too short: one epoch of each stage in 5 folds takes 2 min"):
        fit_epochs(60, 5, 20, [(6, 2.0), (20, 3.0)])


def test_durations_read_well() -> None:
    assert [duration(s) for s in (45, 89, 300, 5400, 12_000)] == ["45 s", "89 s", "5 min", "1 h 30 min", "3 h 20 min"]
