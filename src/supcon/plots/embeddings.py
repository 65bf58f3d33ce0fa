"""The map of the embeddings."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure


def embedding_map(
    points: npt.NDArray[np.floating],
    labels: npt.NDArray[np.int64],
    held_out: npt.NDArray[np.bool_],
    classes: Sequence[str],
    title: str = "",
    shown: Sequence[int] | None = None,
) -> Figure:
    """Draw points [n, 2] by class: training rows as small faint dots, held-out rows (`held_out` [n]) as marks.

    `labels` [n] are places in `classes`; -1 for rows without a label (test rows), drawn grey. Up to 20 classes have a
    colour and a shape each; of more, the 19 that `shown` names (such as the most confused ones), or without it the
    largest, and the rest is "other".
    """
    raise NotImplementedError
