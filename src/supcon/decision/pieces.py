"""Work on all rows in pieces that fit into memory."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import numpy.typing as npt

from supcon.decision.merge import merge_views
from supcon.decision.stored import StoredLogits
from supcon.metrics.top_k import Candidates, M, Matrix, joined, width

_PIECE = 2**22  # values: in double precision 32 MB, of which a handful is held at a time

Piece = npt.NDArray[np.float32] | Candidates
Logits = Piece | StoredLogits  # [rows, views, classes], natural-prior log-odds


def loaded(logits: Logits) -> Piece:
    """Return logits in memory."""
    return logits.load() if isinstance(logits, StoredLogits) else logits


def pieces(runs: Sequence[Logits]) -> Iterator[list[Piece]]:
    """Yield several runs' logits of the same rows piece by piece, one at least."""
    rows = runs[0].shape[0]
    step = max(1, _PIECE // sum(logits.shape[1] * width(logits.shape[2]) for logits in runs))
    for start in range(0, max(rows, 1), step):
        yield [loaded(logits[start : start + step]) for logits in runs]


def in_pieces(function: Callable[[list[Piece]], M], runs: Sequence[Logits]) -> M:
    """Return what `function` makes of all rows, made piece by piece."""
    return joined([function(piece) for piece in pieces(runs)])


def plain_mean(logits: Logits) -> Matrix:
    """Return the log-probabilities [rows, classes] of one model as it is: the views' mean at temperature 1."""
    return in_pieces(lambda piece: merge_views(piece[0], 1.0), [logits])
