"""Is run B better than run A on the same out-of-fold rows? The paired difference and its standard error.

    python benchmarks/paired.py ROOT A B

Both raw (argmax) and cross-fitted; the standard error is a paired bootstrap over rows.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.artifacts.files import read_csv  # noqa: E402
from supcon.metrics.f1 import Labels, macro_f1, paired_bootstrap  # noqa: E402

RESAMPLES = 2000


def main() -> None:
    root, first, second = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
    folds = read_csv(root / "folds" / "folds.csv")
    number = {name: place for place, name in enumerate(sorted(set(folds["label"])))}
    true = np.array([number[label] for label in folds["label"]])
    for kind, read in (("raw", raw_labels), ("cross-fitted", cross_fitted_labels)):
        a, b = (read(root / "runs" / run, list(folds["id"]), number) for run in (first, second))
        before, after = paired_bootstrap(true, [a, b], len(number), RESAMPLES, seed=0)
        scores = macro_f1(true, a, len(number)), macro_f1(true, b, len(number))
        print(
            f"{kind:<12}  {first} {scores[0]:.4f}  {second} {scores[1]:.4f}"
            f"  difference {scores[1] - scores[0]:+.4f} +- {np.std(after - before):.4f}"
            f"  P({second} better) {np.mean(after > before):.2f}"
        )


def raw_labels(run: Path, ids: list[str], number: dict[str, int]) -> Labels:
    """Return the labels that oof.csv's largest probabilities name."""
    table = read_csv(run / "oof.csv").set_index("id").loc[ids]
    order = np.array([number[name] for name in table.columns])
    labels: Labels = order[table.to_numpy().astype(float).argmax(axis=1)]
    return labels


def cross_fitted_labels(run: Path, ids: list[str], number: dict[str, int]) -> Labels:
    """Return the labels that the cross-fitted rules gave."""
    labels = read_csv(run / "cross_fitted.csv").set_index("id").loc[ids, "label"]
    return np.array([number[label] for label in labels])


if __name__ == "__main__":
    main()
