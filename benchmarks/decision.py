"""How long tuning takes: one search, and the whole of `tune` with all that cross-fitting asks for.

    python benchmarks/decision.py [--rows 100000] [--classes 100] [--trials 300]

Simulated logits of one view; five folds. Beside them the macro-F1 of one trial, against scikit-learn's f1_score.
"""

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from sklearn.metrics import f1_score

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

from supcon.decision.crossfit import Decider, on_processes  # noqa: E402
from supcon.decision.ladder import (  # noqa: E402
    PRIOR,
    THRESHOLDS,
    UNTUNED,
    TuningTask,
    fit_rule,  # noqa: E402
)
from supcon.metrics.counts import macro_f1  # noqa: E402
from supcon.metrics.metric import make_metric  # noqa: E402
from supcon.settings.settings import TuneSettings  # noqa: E402
from supcon.storage.processes import available_cores  # noqa: E402


def main() -> None:
    """Print seconds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("rows", 100_000), ("classes", 100), ("trials", 300)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    classes = options.classes
    logits, true = simulate(options.rows, classes)
    print(f"accuracy {(logits[:, 0].argmax(axis=1) == true).mean():.3f}; {available_cores()} cores")
    ours, theirs = macro_f1_seconds(options.rows, classes, 5)
    print(f"macro-F1 of one trial: {ours * 1e3:.2f} ms, scikit-learn {theirs * 1e3:.1f} ms: {theirs / ours:.0f}x")

    settings = TuneSettings(trials=options.trials)
    task = TuningTask(make_metric("macro_f1", classes, np.arange(classes)), settings, np.zeros(classes, np.int64))
    started = time.perf_counter()
    rule = fit_rule((UNTUNED,), [logits], true, task, None)
    for rungs in ((UNTUNED, PRIOR), (UNTUNED, PRIOR, THRESHOLDS)):
        begun = time.perf_counter()
        rule = fit_rule(rungs, [logits], true, task, rule)
        print(f"search {rungs[-1]}: {time.perf_counter() - begun:.1f} s for {options.trials} trials", flush=True)
    print(f"both searches: {time.perf_counter() - started:.1f} s", flush=True)

    fold = np.arange(options.rows) % 5
    started = time.perf_counter()
    decision = Decider([logits], true, fold, task, fitters=partial(on_processes, available_cores())).decide()
    print(f"tune, cross-fitted (32 searches): {time.perf_counter() - started:.1f} s")
    for rung in decision.ladder:
        gain = f"gain {rung.gain:+.4f} +- {rung.standard_error:.4f}"
        print(f"  {rung.rung:<11} cross-fitted {rung.cross_fitted:.4f}  {gain}")


def macro_f1_seconds(rows: int, classes: int, repeats: int) -> tuple[float, float]:
    """Return the median seconds of a macro-F1, ours and scikit-learn's."""
    logits, true = simulate(rows, classes)
    predicted = logits[:, 0].argmax(axis=1)
    ours = median_s(lambda: macro_f1(true, predicted, classes), 10 * repeats)
    return ours, median_s(lambda: f1_score(true, predicted, average="macro"), repeats)


def simulate(rows: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Return natural-prior logits [rows, 1, classes] of a model that is right on about 80 %, and class numbers."""
    draw = np.random.default_rng(0)
    prior = np.sort(draw.dirichlet(np.full(classes, 1.0)))[::-1] + 1e-4
    true = draw.choice(classes, rows, p=prior / prior.sum())
    noise = 1.2 * draw.standard_normal((rows, classes), dtype=np.float32)
    logits = noise + np.log(prior).astype(np.float32) + 4 * np.eye(classes, dtype=np.float32)[true]
    return logits[:, None], true


def median_s(action: Callable[[], object], repeats: int) -> float:
    """Return the median seconds of a few calls."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        action()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds)


if __name__ == "__main__":
    main()
