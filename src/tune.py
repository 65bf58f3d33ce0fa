"""Tune the decision on out-of-fold predictions, as far as it helps on rows that had no part in it: decision.json.

With --runs the decision blends runs, and what it makes of the training rows is written as their own run's oof.csv.
"""

from supcon.environment import hand_over

hand_over(__name__)

import dataclasses
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from supcon.competition.fit import metric_notes
from supcon.errors import run_stage
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.predictions import LARGE_TABLES, TABLES
from supcon.run.runs import RunLogits, read_runs, write_labels, write_probabilities
from supcon.run.stage import StageRun
from supcon.settings import Request, command_line
from supcon.storage.files import digest, remove, write_json
from supcon.storage.processes import available_cores

if TYPE_CHECKING:
    from supcon.decision.crossfit import Decider, Decision, Fitter
    from supcon.decision.search import SearchStorage

_ROWS_AT_ONCE = 2**22  # in all processes together: each holds what is open of its rows


def run(request: Request) -> None:
    """Run the stage."""
    experiment = load_experiment(request)
    stage = experiment.stage("tune")
    if stage.ready():
        tune(experiment, stage)


def tune(experiment: Experiment, stage: StageRun) -> None:
    """Fit and judge the decision: decision.json and trials.csv; of a blend, oof.csv too."""
    rows, settings = experiment.split.scored_rows, experiment.settings.tune
    size = f"{len(rows):,} rows of {len(experiment.split.classes):,} classes, {settings.trials} trials a search"
    print(f"tune: {size}, for {experiment.metric.title}", flush=True)
    for note in metric_notes(experiment.request, experiment.competition):
        print(f"tune: {note}", flush=True)
    from supcon.decision.crossfit import Decider
    from supcon.decision.ladder import TuningTask
    from supcon.decision.search import write_trials

    started = time.time()
    metric, runs = experiment.metric, read_runs(experiment)
    print_runs(experiment, runs)
    logits, true, fold = [run.out_of_fold for run in runs], experiment.split.labels[rows], experiment.split.fold[rows]
    blends, storage = bool(settings.runs), search_storage(stage)
    second_round = not blends and bool(stage.request.settings.pseudo.run)
    task = TuningTask(metric, settings, experiment.split.unscored, start_weights(runs, second_round), second_round)
    groups = experiment.split.scored_groups
    if not task.has_thresholds and not metric.of_probabilities:
        print(f"tune: no thresholds are tried: of {len(experiment.split.classes):,} classes too many would share each")
    fitters = partial(on_cluster if stage.request.tasks.cluster else on_this_machine, stage.request, len(rows))
    decision = Decider(logits, true, fold, task, groups=groups, storage=storage, fitters=fitters).decide()

    if blends:
        write_probabilities(experiment, "oof", decision.merge(logits, fold))
    labels = decision.predicted.argmax(axis=1) if metric.of_probabilities else decision.predicted
    write_labels(experiment, labels)
    write_trials(stage.folder / "trials.csv", storage, [rung.rung for rung in decision.ladder])
    scores = {
        "metric": metric.name,
        "cross_fitted": metric.score(true, decision.predicted),
        "raw": decision.ladder[0].cross_fitted,  # nothing is fitted on that rung
        "in_sample": metric.score(true, decision.rule.predict_runs(logits, metric)),
    }
    write_json(stage.folder / "decision.json", {**scores, **described(experiment, runs, decision)})
    stage.finish(started, LARGE_TABLES[:1] + TABLES[:1] if blends else (), **scores)
    print_ladder(decision)
    print(
        f"tune: decision {decision.rule.rung}, cross-fitted {metric.title} {scores['cross_fitted']:z.4f}"
        f" (raw {scores['raw']:z.4f})",
        flush=True,
    )


def start_weights(runs: Sequence[RunLogits], second_round: bool) -> tuple[float, ...]:
    """Return the weights before tuning: all runs alike, but of a second round the first; none for members beside."""
    counts = [not run.beside_head and not (second_round and number) for number, run in enumerate(runs)]
    return tuple(own / sum(counts) for own in counts)


@contextmanager
def on_this_machine(request: Request, rows: int, decider: "Decider") -> Iterator["Fitter | None"]:
    """Yield what fits rules in processes: of `--jobs`, or on all cores, as far as the memory goes."""
    from supcon.decision.crossfit import on_processes

    processes = request.tasks.jobs if request.tasks.many else available_cores()
    with on_processes(min(processes, max(1, _ROWS_AT_ONCE // rows)), decider) as fitter:
        yield fitter


@contextmanager
def on_cluster(request: Request, _: int, decider: "Decider") -> Iterator["Fitter"]:
    """Yield what fits rules on the machines of a cluster."""
    from supcon.cluster.start import open_cluster
    from supcon.decision.crossfit import Decider

    with open_cluster(request) as cluster:
        yield cluster.sharing(Decider.fit, decider)


def search_storage(stage: StageRun) -> "SearchStorage":
    """Return where the searches over all rows are kept: a journal of this run's own, or the storage asked for."""
    from supcon.decision.search import SearchStorage

    settings = stage.request.settings.tune
    if settings.storage:  # shared: searches of other inputs must not mix with these
        return SearchStorage(settings.storage, f"{stage.request.run}-{digest(stage.fingerprint)[:8]}", settings.workers)
    journal = stage.folder / "optuna.journal"
    remove(journal)
    return SearchStorage(str(journal), stage.request.run, settings.workers)


def described(experiment: Experiment, runs: Sequence[RunLogits], decision: "Decision") -> dict[str, object]:
    """Return what decision.json says beside the scores."""
    from supcon.decision.calibration import ENOUGH_ROWS, calibration_factor, subsample
    from supcon.decision.logits import load_logits

    rows, classes, names = experiment.split.scored_rows, experiment.split.classes, [run.name for run in runs]
    sample = subsample(len(rows), ENOUGH_ROWS)
    logits, true = [load_logits(run.out_of_fold[sample]) for run in runs], experiment.split.labels[rows][sample]
    return {
        "calibration_temperature": calibration_factor(lambda t: decision.untuned.at(t).merge(logits), true),
        "rule": decision.rule.as_json(classes, names),
        "untuned": decision.untuned.as_json(classes, names),
        "fold_rules": {str(fold): rule.as_json(classes, names) for fold, rule in decision.fold_rules.items()},
        "ladder": [dataclasses.asdict(rung) for rung in decision.ladder],
    }


def print_runs(experiment: Experiment, runs: Sequence[RunLogits]) -> None:
    """Say what each of several runs scores alone, untuned."""
    metric, true = experiment.metric, experiment.split.labels[experiment.split.scored_rows]
    if len(runs) < 2:
        return
    from supcon.decision.rule import Rule, class_prior

    for run in runs:
        rule = Rule(class_prior(true, experiment.split.unscored))
        score = metric.score(true, rule.predict_runs([run.out_of_fold], metric))
        print(f"tune: run {run.name} alone, untuned: out-of-fold {metric.title} {score:z.4f}")


def print_ladder(decision: "Decision") -> None:
    """Say what each rung is worth."""
    for rung in decision.ladder:
        print(
            f"tune: {rung.rung:<11}  cross-fitted {rung.cross_fitted:z.4f}  in-sample {rung.in_sample:z.4f}"
            f"  gain {rung.gain:+z.4f} +- {rung.standard_error:.4f}  {'kept' if rung.chosen else 'not used'}"
        )


main = command_line(run, __doc__, blends=True, tasks=True)

if __name__ == "__main__":
    run_stage(main)
