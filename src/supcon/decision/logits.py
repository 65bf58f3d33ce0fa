"""Logits of runs, in memory or in files, worked on in blocks of rows that fit into memory."""

from collections.abc import Callable, Iterator, Sequence

from supcon.arrays import ModelLogits
from supcon.decision.lazy import LazyLogits
from supcon.decision.merge import merge_views
from supcon.metrics.top_k import M, Matrix, TopK, joined, width

_BLOCK = 2**22  # values: 32 MB in double precision, of which a few are held at a time

LoadedLogits = ModelLogits | TopK  # in memory
Logits = LoadedLogits | LazyLogits  # [rows, views, classes], natural-prior log-odds


def load_logits(logits: Logits) -> LoadedLogits:
    """Return logits in memory."""
    return logits.load() if isinstance(logits, LazyLogits) else logits


def logit_blocks(runs: Sequence[Logits]) -> Iterator[list[LoadedLogits]]:
    """Yield several runs' logits of the same rows in blocks of rows, one block at least."""
    rows = runs[0].shape[0]
    step = max(1, _BLOCK // sum(logits.shape[1] * width(logits.shape[2]) for logits in runs))
    for start in range(0, max(rows, 1), step):
        yield [load_logits(logits[start : start + step]) for logits in runs]


def map_blocks(function: Callable[[list[LoadedLogits]], M], runs: Sequence[Logits]) -> M:
    """Return what `function` returns for all rows, computed block by block."""
    return joined([function(block) for block in logit_blocks(runs)])


def plain_mean(logits: Logits) -> Matrix:
    """Return one model's untuned log-probabilities [rows, classes]: the views' mean at temperature 1."""
    return map_blocks(lambda block: merge_views(block[0], 1.0), [logits])
