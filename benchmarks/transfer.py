"""Does a decision tuned on single models transfer to the mean of five? Simulated logits, scored on fresh rows.

    python benchmarks/transfer.py

For models of several strengths: macro-F1 by argmax, by the decision on the plain mean, and by the decision on the mean
sharpened to its members' mean entropy (`supcon.decision.merge.merge_members`).
"""

import sys
from pathlib import Path

import numpy as np

sys.path[:0] = [str(Path(__file__).resolve().parents[1] / part) for part in ("src", ".")]

from tests.decision.simulate import PRIOR, simulate  # noqa: E402

from supcon.decision.crossfit import Decider  # noqa: E402
from supcon.decision.ladder import TuningTask  # noqa: E402
from supcon.decision.merge import log_softmax, merge_members  # noqa: E402
from supcon.metrics.counts import macro_f1  # noqa: E402
from supcon.metrics.metric import make_metric  # noqa: E402
from supcon.settings.settings import TuneSettings  # noqa: E402

SEEDS = 5


def main() -> None:
    metric = make_metric("macro_f1", len(PRIOR), np.arange(len(PRIOR)))
    task = TuningTask(metric, TuneSettings(trials=100, bootstrap=500), np.zeros(len(PRIOR), np.int64))
    print(f"{'strength':>8} {'rows':>6} {'argmax':>8} {'plain mean':>11} {'sharpened':>10} {'exponent':>9}  rungs")
    for strength in (1.0, 1.5, 2.5, 4.0, 5.0):
        for rows in (500, 2000):
            results = np.array([simulated(strength, rows, seed, task) for seed in range(SEEDS)], dtype=object)
            argmax, plain, sharpened, exponent = results[:, :4].astype(float).mean(axis=0)
            rungs = {rung: list(results[:, 4]).count(rung) for rung in sorted(set(results[:, 4]))}
            print(
                f"{strength:8} {rows:6} {argmax:8.4f} {plain - argmax:+11.4f} {sharpened - argmax:+10.4f}"
                f" {exponent:9.3f}  {rungs}",
                flush=True,
            )


def simulated(strength: float, rows: int, seed: int, task: TuningTask) -> tuple[float, float, float, float, str]:
    """Return the scores of one simulated competition."""
    (logits,), true = simulate(rows, strength, seed)
    rule = Decider([logits], true, np.arange(rows) % 5, task).decide().rule
    members, fresh = simulate(10_000, strength, 1000 + seed, members=5)
    merged = [np.asarray(rule.merge([member])) for member in members]
    sharpened, exponent = merge_members(merged)
    plain = log_softmax(np.mean(merged, axis=0))
    scores = [
        macro_f1(fresh, labels, len(PRIOR))
        for labels in (plain.argmax(axis=1), rule.decide(plain), rule.decide(sharpened))
    ]
    return scores[0], scores[1], scores[2], exponent, rule.rung


if __name__ == "__main__":
    main()
