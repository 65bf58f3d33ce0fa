"""What fuzz tests share: how much they try, and what a refusal must look like.

They try a few examples, always the same; with HYPOTHESIS_PROFILE=long 25 times as many, drawn anew:

    HYPOTHESIS_PROFILE=long .venv/bin/python -m pytest tests/fuzz
"""

import os
from datetime import timedelta

from hypothesis import HealthCheck, settings

from supcon.errors import UserError

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
LONGER = 25  # times as many examples
ONE_EXAMPLE = timedelta(seconds=20)  # generous: the machine may be busy; a hang is longer


def budget(examples: int, deadline: timedelta | None = ONE_EXAMPLE) -> settings:
    """The settings of a test that tries so many examples; with LONG a failure prints how to repeat it."""
    return settings(
        max_examples=examples * (LONGER if LONG else 1),
        derandomize=not LONG,
        database=None,
        deadline=deadline,
        print_blob=True,
        suppress_health_check=list(HealthCheck),
    )


def assert_one_line(error: UserError) -> None:
    """The message is one line."""
    message = str(error)
    assert len(message.splitlines()) == 1, repr(message)
