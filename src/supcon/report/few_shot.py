"""Few-shot episodes by the encoders of a run: on the rows that each fold holds out, or on another competition."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from supcon.arrays import Floats, Rows
from supcon.competition.folds import LEFT_OUT
from supcon.errors import UserError
from supcon.metrics.episodes import EpisodeShape, episode_accuracies, rows_of_classes
from supcon.randomness import seed_at
from supcon.report.page import Missing
from supcon.report.run import Run
from supcon.run.experiment import Experiment
from supcon.run.predictions import HELD_OUT, Embeddings
from supcon.run.split import Split


def play_folds(
    run: Run, other: Experiment | None, limit: int, space: str, shape: EpisodeShape, episodes: int, seed: int
) -> list[Floats]:
    """Return the accuracies of every fold's episodes, [episodes] each, in a `space`: features or projections.

    Of the competition `other` at most `limit` rows are drawn, the same for every fold. Raises `UserError` where
    embeddings are missing, or too few of their classes have enough rows.
    """
    split, accuracies = (other or run.experiment).split, []
    try:
        for fold, embeddings in enumerate(_embeddings(run, other, limit, seed)):
            values = getattr(embeddings, space)
            if values is None:
                raise UserError(f"--space {space}: the final encoders of run {run.name} have no projection head")
            numbers = pd.Index(split.ids).get_indexer(pd.Index(embeddings.ids.astype(object)))
            apart = one_of_each_group(numbers, split, seed_at(seed, "groups", fold))
            labels = split.labels[numbers[apart]]
            rows_of = rows_of_classes(labels, shape.shots + 1)
            if len(rows_of) < shape.ways:
                cure = f"{'raise --rows, or ' * bool(other)}lower --ways or --shots"
                counts = np.unique(labels, return_counts=True)[1]
                raise UserError(
                    f"fold {fold} of run {run.name}: {len(rows_of)} of {len(counts)} classes have the {shape.shots + 1}"
                    f" rows that --shots {shape.shots} and a query take (the largest has {counts.max(initial=0)}),"
                    f" --ways {shape.ways} needs {shape.ways} of them: {cure}"
                )
            of_fold = seed_at(seed, "episodes", fold)
            accuracies.append(episode_accuracies(values[apart], rows_of, shape, episodes, of_fold))
    except Missing as reason:
        raise UserError(str(reason)) from None
    return accuracies


def one_of_each_group(rows: Rows, split: Split, seed: int) -> Rows:
    """Return which of the row numbers `rows` to use: of the rows of a class in one group, such as copies, a random one.

    A query would else be classified by a labelled copy of itself.
    """
    if split.groups is None:
        return np.arange(len(rows))
    order = np.random.default_rng(seed).permutation(len(rows))
    pairs = split.groups[rows] * len(split.classes) + split.labels[rows]
    return np.sort(order[np.unique(pairs[order], return_index=True)[1]])


def _embeddings(run: Run, other: Experiment | None, limit: int, seed: int) -> Iterator[Embeddings]:
    """Yield for every fold what its encoder makes of rows that it was not trained on."""
    if other is None:
        yield from (embeddings.of(HELD_OUT) for embeddings in run.embeddings)
        return
    from supcon.training.predictor import embed  # imports torch

    usable = np.flatnonzero(other.split.fold > LEFT_OUT)
    drawn = np.sort(np.random.default_rng(seed_at(seed, "rows")).permutation(usable)[:limit])
    for fold in run.folds:
        yield embed(run.experiment, run.fold_folder(fold), other, drawn)
