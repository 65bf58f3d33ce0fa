"""Do the class means help the head? Out-of-fold macro-F1 of the head, of the class means and of their blend.

    python benchmarks/prototypes.py ROOT RUN

A blend is (1 - w) log p_head + w log p_means, by argmax. The weight is cross-fitted: fold k's is the best on the other
folds, so the last line is what a blend is worth on rows that had no part in its choice; the standard error is a paired
bootstrap over rows.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.artifacts.files import read_csv, read_npz  # noqa: E402
from supcon.decision.merge import merge_views  # noqa: E402
from supcon.metrics.f1 import Labels, macro_f1, paired_bootstrap  # noqa: E402
from supcon.predictions import HEAD, PROTOTYPES, join_rows  # noqa: E402

WEIGHTS = np.arange(0, 1.01, 0.05)
RESAMPLES = 2000


def main() -> None:
    root, run = Path(sys.argv[1]), sys.argv[2]
    folds = read_csv(root / "folds" / "folds.csv")
    classes, true = np.unique(folds["label"].to_numpy(dtype=str), return_inverse=True)
    fold = folds["fold"].to_numpy(dtype=int)
    parts = [read_npz(root / "runs" / run / f"fold{number}" / "oof.npz") for number in np.unique(fold)]
    head, means = (merge_views(join_rows(parts, folds["id"], list(classes), by), 1.0) for by in (HEAD, PROTOTYPES))
    blends = np.array([((1 - weight) * head + weight * means).argmax(axis=1) for weight in WEIGHTS])

    for weight, labels in zip(WEIGHTS, blends, strict=True):
        print(f"weight {weight:.2f}  {macro_f1(true, labels, len(classes)):.4f}")
    chosen, cross_fitted = cross_fit(blends, true, fold)
    before, after = paired_bootstrap(true, [blends[0], cross_fitted], len(classes), RESAMPLES, seed=0)
    scores = [macro_f1(true, labels, len(classes)) for labels in (blends[0], blends[-1], cross_fitted)]
    print(
        f"head {scores[0]:.4f}  class means {scores[1]:.4f}  cross-fitted blend {scores[2]:.4f}"
        f"  difference {scores[2] - scores[0]:+.4f} +- {np.std(after - before):.4f}"
        f"  weights {', '.join(f'{WEIGHTS[best]:.2f}' for best in chosen)}"
    )


def cross_fit(blends: Labels, true: Labels, fold: Labels) -> tuple[list[int], Labels]:
    """Return each fold's choice among `blends` [weights, rows], made on the other folds, and the labels it gives."""
    chosen, labels = [], np.empty_like(true)
    for number in np.unique(fold):
        others = fold != number
        scores = [macro_f1(true[others], blend[others], int(true.max()) + 1) for blend in blends]
        chosen.append(int(np.argmax(scores)))  # of equals the one nearest the head
        labels[~others] = blends[chosen[-1]][~others]
    return chosen, labels


if __name__ == "__main__":
    main()
