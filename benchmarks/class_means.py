"""Do the class means help the head? Out-of-fold macro-F1 and log loss of the head, of the class means and of blends.

    python benchmarks/class_means.py ROOT RUN [RUN ...]

A blend is (1 - w) log p_head + w log p_means, by argmax. Every line is the mean over folds and runs (seeds of a recipe,
say), with the difference to the head alone and its standard error over them; the second log loss is at each fold's own
best temperature. The weight of the last line is cross-fitted: a fold's is the best on its run's other folds, so that
its rows had no part in the choice; a run of one fold keeps the head.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.arrays import Floats, Labels, RowMask  # noqa: E402
from supcon.decision.merge import log_softmax, merge_views  # noqa: E402
from supcon.metrics.counts import macro_f1  # noqa: E402
from supcon.metrics.of_probabilities import row_losses  # noqa: E402
from supcon.run.predictions import CLASS_MEANS, HEAD, join_rows  # noqa: E402
from supcon.storage.files import read_npz  # noqa: E402
from supcon.storage.tables import read_table  # noqa: E402

WEIGHTS = np.arange(0, 1.01, 0.1)
TEMPERATURES = (1.0, *np.arange(0.4, 1.6, 0.05))  # the first leaves log-odds as they are


def main() -> None:
    root, runs = Path(sys.argv[1]), sys.argv[2:]
    scores, losses, choices = (np.concatenate(parts) for parts in zip(*(score(root, run) for run in runs), strict=True))
    for number, weight in enumerate(WEIGHTS):
        print(line(f"weight {weight:.1f}", scores[:, number], losses[:, number], scores[:, 0]))
    cells = np.arange(len(scores))
    print(line("cross-fitted", scores[cells, choices], losses[cells, choices], scores[:, 0]))


def score(root: Path, run: str) -> tuple[Floats, Floats, Labels]:
    """Return macro-F1 [folds, weights], log losses [folds, weights, 2], and each fold's cross-fitted weight [folds]."""
    files = sorted((root / "runs" / run).glob("fold*/oof.npz"))  # a study's cells need not be all folds
    predicted = [int(file.parent.name.removeprefix("fold")) for file in files]
    folds = read_table(root / "folds" / "folds.csv")
    classes = np.unique(folds["label"].to_numpy(dtype=str))
    folds = folds[folds["fold"].astype(int).isin(predicted)]
    true, fold = np.searchsorted(classes, folds["label"].to_numpy(dtype=str)), folds["fold"].to_numpy(dtype=int)
    parts = [read_npz(file) for file in files]
    head, means = (merge_views(join_rows(parts, folds["id"], list(classes), by), 1.0) for by in (HEAD, CLASS_MEANS))
    blends = [log_softmax((1 - weight) * head + weight * means) for weight in WEIGHTS]

    def each(rows: RowMask) -> list[float]:
        return [macro_f1(true[rows], blend[rows].argmax(axis=1), len(classes)) for blend in blends]

    held_out = [fold == number for number in predicted]
    losses = [[log_losses(true[rows], blend[rows]) for blend in blends] for rows in held_out]
    choices = [int(np.argmax(each(~rows))) for rows in held_out]  # of equals the one nearest the head
    return np.array([each(rows) for rows in held_out]), np.array(losses), np.array(choices)


def log_losses(true: Labels, blend: Floats) -> tuple[float, float]:
    """Return the mean log loss as predicted, and at the best temperature."""
    losses = [float(row_losses(true, log_softmax(blend / temperature)).mean()) for temperature in TEMPERATURES]
    return losses[0], min(losses)


def line(what: str, scores: Floats, losses: Floats, head: Floats) -> str:
    """Return one line of the table."""
    gains = scores - head
    error = np.std(gains, ddof=1) / np.sqrt(len(gains))
    return (
        f"{what:<12}  macro-F1 {scores.mean():.4f}  over the head {gains.mean():+.4f} +- {error:.4f}"
        f"  NLL {losses[:, 0].mean():.4f}, at the best temperature {losses[:, 1].mean():.4f}"
    )


if __name__ == "__main__":
    main()
