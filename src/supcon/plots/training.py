"""Learning curves, and what the stages cost."""

from collections.abc import Mapping, Sequence

import pandas as pd
from matplotlib.figure import Figure


def learning_curves(logs: Mapping[str, pd.DataFrame], columns: Sequence[str], title: str = "") -> Figure:
    """Draw a panel a column over the epochs, a line a log.

    `logs`: such as {"fold 0": the table of fold0/finetune.csv, ...}, numbers with a column `epoch`. A log without a
    column, or with gaps in it, has no line, or a broken one; a column that no log has, has no panel.
    """
    raise NotImplementedError


def stage_times(
    seconds: Mapping[str, Mapping[str, float]],
    memory_mb: Mapping[str, Mapping[str, float]] | None = None,
    title: str = "",
) -> Figure:
    """Draw how long each stage took, its folds side by side in one bar, and a stage's peak memory where it is known.

    `seconds` and `memory_mb`: stage to fold ("fold 0", or "" for a stage without folds) to value.
    """
    raise NotImplementedError
