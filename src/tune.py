"""Tune the decision on out-of-fold predictions, as far as it helps on rows that had no part in it: decision.json."""

import dataclasses
import time
from collections.abc import Sequence

from supcon.artifacts.files import write_json
from supcon.artifacts.stage import StageRun
from supcon.config import parse
from supcon.decision.merge import merge_views
from supcon.errors import run_stage
from supcon.experiment import Experiment, load_experiment
from supcon.metrics.f1 import macro_f1
from supcon.predictions import read_out_of_fold


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage."""
    experiment = load_experiment(parse(__doc__, argv))
    stage = experiment.stage("tune")
    if stage.ready():
        tune(experiment, stage)


def tune(experiment: Experiment, stage: StageRun) -> None:
    """Fit and judge the decision: decision.json."""
    from supcon.decision.calibration import calibration_temperature
    from supcon.decision.crossfit import Decider

    started = time.time()
    settings = experiment.call.settings
    logits = read_out_of_fold(experiment)
    true, count = experiment.labels, len(experiment.classes)
    decision = Decider(logits, true, experiment.fold, settings.tune).decide()

    raw = macro_f1(true, merge_views(logits, 1.0).argmax(axis=1), count)
    cross_fitted = macro_f1(true, decision.predicted, count)
    in_sample = macro_f1(true, decision.rule.decide_logits(logits), count)
    scores = {"cross_fitted_macro_f1": cross_fitted, "raw_macro_f1": raw, "in_sample_macro_f1": in_sample}
    names = experiment.classes
    write_json(
        stage.folder / "decision.json",
        {
            **scores,
            "calibration_temperature": calibration_temperature(logits, true),
            "rule": decision.rule.as_json(names),
            "fold_rules": {str(fold): rule.as_json(names) for fold, rule in decision.fold_rules.items()},
            "ladder": [dataclasses.asdict(rung) for rung in decision.ladder],
            "cross_fitted_labels": {
                name: names[label] for name, label in zip(experiment.split["id"], decision.predicted, strict=True)
            },
        },
    )
    stage.finish(started, **scores)
    for rung in decision.ladder:
        print(
            f"tune: {rung.rung:<10}  cross-fitted {rung.cross_fitted:.4f}  in-sample {rung.in_sample:.4f}"
            f"  gain {rung.gain:+.4f} +- {rung.standard_error:.4f}  {'kept' if rung.chosen else 'not used'}"
        )
    print(f"tune: decision {decision.rule.rung}, cross-fitted macro-F1 {cross_fitted:.4f} (raw {raw:.4f})", flush=True)


if __name__ == "__main__":
    run_stage(main)
