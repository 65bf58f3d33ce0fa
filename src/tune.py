"""Tune the decision on out-of-fold predictions, as far as it helps on rows that had no part in it: decision.json."""

import dataclasses
import time
from collections.abc import Sequence

from supcon.artifacts.files import write_json
from supcon.artifacts.stage import StageRun
from supcon.config import parse
from supcon.errors import UserError, run_stage
from supcon.experiment import Experiment, load_experiment
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
    from supcon.decision.tune import Goal

    started = time.time()
    metric, rows = experiment.metric, experiment.scored_rows
    check_form(experiment)
    logits, true = read_out_of_fold(experiment), experiment.labels[rows]
    goal = Goal(metric, experiment.call.settings.tune, experiment.unscored)
    decision = Decider(logits, true, experiment.fold[rows], goal).decide()

    raw = decision.ladder[0].cross_fitted  # nothing is fitted on that rung
    cross_fitted = metric.score(true, decision.predicted)
    in_sample = metric.score(true, decision.rule.predict_logits(logits, metric))
    scores = {"metric": metric.name, "cross_fitted": cross_fitted, "raw": raw, "in_sample": in_sample}
    names = experiment.classes
    labels = decision.predicted.argmax(axis=1) if metric.of_probabilities else decision.predicted
    write_json(
        stage.folder / "decision.json",
        {
            **scores,
            "calibration_temperature": calibration_temperature(logits, true),
            "rule": decision.rule.as_json(names),
            "fold_rules": {str(fold): rule.as_json(names) for fold, rule in decision.fold_rules.items()},
            "ladder": [dataclasses.asdict(rung) for rung in decision.ladder],
            "cross_fitted_labels": {
                name: names[label] for name, label in zip(experiment.split["id"].iloc[rows], labels, strict=True)
            },
        },
    )
    stage.finish(started, **scores)
    for rung in decision.ladder:
        print(
            f"tune: {rung.rung:<11}  cross-fitted {rung.cross_fitted:.4f}  in-sample {rung.in_sample:.4f}"
            f"  gain {rung.gain:+.4f} +- {rung.standard_error:.4f}  {'kept' if rung.chosen else 'not used'}"
        )
    print(
        f"tune: decision {decision.rule.rung}, cross-fitted {metric.title} {cross_fitted:.4f} (raw {raw:.4f})",
        flush=True,
    )


def check_form(experiment: Experiment) -> None:
    """Raise `UserError` where the host's form cannot hold what the metric scores."""
    if experiment.metric.of_probabilities and not experiment.competition.sample.one_hot:
        raise UserError(
            f"--tune.metric {experiment.metric.name} scores probabilities, but"
            f" {experiment.competition.sample.path.name} asks for labels: choose a metric of labels"
        )


if __name__ == "__main__":
    run_stage(main)
