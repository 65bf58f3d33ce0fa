"""Sections on the embedding space: its map, its quality, and whether test rows can be told from training rows."""

from collections.abc import Mapping

import numpy as np

from supcon.arrays import Scores
from supcon.metrics.drift import Drift, drift_auc
from supcon.plots import embedding_map, project
from supcon.report.page import Block, Figure, Missing, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Run
from supcon.run.predictions import HELD_OUT, TEST, TRAINING, Embeddings

HEAD = (
    "The classifier sees the features. Contrast sees what its projection head makes of them, and shapes that: what a"
    " head takes away there may stay in the features. Without a head it shapes the features themselves."
)
_FOREIGN = 0.6  # from this AUC on, the test rows are called another population

_QUALITY_MEASURES = {  # in the order of `embedding_quality`: what each measures, and which way is better
    "alignment": "mean squared distance of a class's rows, lower is better",
    "uniformity": "how evenly all rows spread, lower is better",
    "isotropy": "share of the dimensions used alike, 0 to 1",
    "effective rank": "dimensions in use",
    "distances within / between classes": "lower is better",
    "kNN macro-F1": "vote of the nearest training rows, higher is better",
}


def maps(run: Run) -> list[Block]:
    """Show one fold's embeddings in two dimensions, held-out rows marked."""
    fold = run.folds[0]
    parts = run.embeddings[fold]
    seen = parts.part != TEST
    features, held_out = parts.features[seen], parts.part[seen] == HELD_OUT
    labels = run.labels_of(parts.ids[seen])
    confused = [number for pair in run.pairs for number in (pair.first, pair.second)]
    blocks: list[Block] = [
        Text(
            f"What fold {fold}'s encoder makes of the plain view of {(~held_out).sum():,} rows it was trained on and"
            f" {held_out.sum():,} held-out rows. Held-out rows outside their class's cloud are its likely errors."
        )
    ]
    for method, name in (("pca", "PCA"), ("tsne", "t-SNE")):
        points = project(features, method)  # type: ignore[arg-type]
        rows = points.rows
        figure = embedding_map(
            points.points, labels[rows], held_out[rows], run.classes, name, list(dict.fromkeys(confused))
        )
        blocks.append(Figure(of_figure(figure, f"Embedding map by {name}"), f"{len(rows):,} rows."))
    return blocks


def quality(run: Run) -> list[Block]:
    """Show the quality of the embeddings before and after the projection head, mean over the folds."""
    tables = quality_table(run)
    about = f"Mean over {len(run.folds)} folds, of held-out rows. {HEAD}"
    if len(tables) == 1:
        about += " No projection head belongs to the final encoder here."
    return [Text(about), Table(["", "what it says", *tables], quality_rows(tables), left=2)]


def quality_table(run: Run) -> dict[str, Scores]:
    """Return the mean quality over folds, [measures], of "features" and, where there are any, "projections"."""
    tables: dict[str, Scores] = {}
    for kind in ("features", "projections"):
        if all(getattr(embeddings, kind) is not None for embeddings in run.embeddings):
            tables[kind] = np.mean([_quality(run, embeddings, kind) for embeddings in run.embeddings], axis=0)
    return tables


def quality_rows(tables: Mapping[str, Scores]) -> list[list[str]]:
    """Return a line a measure with what it says, and its value in each table."""
    return [
        [name, says, *map(_as_text, values)]
        for (name, says), *values in zip(_QUALITY_MEASURES.items(), *tables.values(), strict=True)
    ]


def drift(run: Run) -> list[Block]:
    """Show how well a classifier tells test rows from held-out rows."""
    drifts = [fold_drift(run, fold) for fold in run.folds]
    rows = [[f"fold {fold}", f"{own.auc:.3f}", f"{own.standard_error:.3f}"] for fold, own in enumerate(drifts)]
    auc = float(np.nanmean([own.auc for own in drifts]))
    rows.append(["mean", f"{auc:.3f}", ""])
    return [
        Text(
            "A logistic regression on the embeddings of held-out and test rows, whose labels no encoder saw: 0.5 or"
            f" less means that they cannot be told apart. Here {auc:.3f}: {drift_verdict(auc)}"
        ),
        Table(["encoder", "AUC", "standard error"], rows),
    ]


def fold_drift(run: Run, fold: int) -> Drift:
    """Return how well test rows are told from held-out rows by one fold's embeddings."""
    if run.experiment.settings.pretrain.use_test:
        raise Missing(
            f"Run {run.name} has contrasted test rows (pretrain.use_test), no held-out ones: its embeddings tell them"
            " apart for that alone."
        )
    held_out, test = (run.embeddings[fold].of(part) for part in (HELD_OUT, TEST))
    if len(test.ids) == 0:
        raise Missing("There are no embeddings of test rows.")
    groups = run.experiment.split.groups
    if groups is not None:
        number = dict(zip(run.experiment.split.ids, groups.tolist(), strict=True))
        groups = np.array([number[name] for name in held_out.ids])
    return drift_auc(held_out.features, test.features, groups=groups)


def drift_verdict(auc: float) -> str:
    """Return what an AUC means, as the end of a sentence."""
    if not auc >= _FOREIGN:
        return "the test rows look like the training rows."
    return "the test rows are another population, and out-of-fold scores promise less about them."


def _quality(run: Run, parts: Embeddings, kind: str) -> tuple[float, ...]:
    from supcon.metrics.embeddings import embedding_quality  # imports torch

    train, held_out = parts.of(TRAINING), parts.of(HELD_OUT)
    measures = embedding_quality(
        getattr(train, kind),
        run.labels_of(train.ids),
        getattr(held_out, kind),
        run.labels_of(held_out.ids),
        len(run.classes),
    )
    return tuple(measures.values())


def _as_text(value: float) -> str:
    return "-" if np.isnan(value) else f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
