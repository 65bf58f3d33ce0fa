"""Merge folds and views, decide, and write submissions/submission.csv with a ledger row and the table of scores."""

from supcon.environment import hand_over

hand_over(__name__)

import shlex
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from supcon.competition.form import submission_rows
from supcon.competition.ledger import add_to_ledger
from supcon.competition.submission import read_solution, write_submission
from supcon.decision.logits import Logits, plain_mean
from supcon.decision.rule import Rule
from supcon.errors import run_stage
from supcon.run.done import read_done, read_result
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.predictions import LARGE_TABLES, TABLES
from supcon.run.runs import RunLogits, read_runs, renew_for_full, write_probabilities
from supcon.run.scores import POOLED, ScoreTable, class_shares, private_scores, score_table
from supcon.run.stage import StageRun
from supcon.settings import Request, command_line
from supcon.storage.files import digest, sha256_file, write_atomic, write_json
from supcon.tracking import require_trackers, track_scores


def run(request: Request) -> None:
    """Run the stage."""
    require_trackers(request.settings)
    experiment = load_experiment(request)
    stage = experiment.stage("ensemble")
    renew_for_full(experiment, stage)
    restore_newest(stage)
    if stage.ready():
        ensemble(experiment, stage)
    track_scores(experiment.request)


def ensemble(experiment: Experiment, stage: StageRun) -> None:
    """Write the submission and what is known of its score."""
    started = time.time()
    competition, classes = experiment.competition, experiment.split.classes
    decision = read_result(stage.folder / "decision.json")
    rule = Rule.from_json(decision["rule"])
    runs = read_runs(experiment)
    if competition.hides_test:
        score_alone(experiment, stage, decision, runs, started)
        return
    members = list(zip(*(run.test for run in runs), strict=True))  # of each fold, the runs' models
    full = full_models(rule, runs)
    merged, exponent = rule.merge_models(members, beside=full)
    table = score_table(experiment, decision, runs)
    solution = read_solution(competition.folder, competition)

    ids = competition.test["id"].to_list()
    labels = rule.decide(merged)
    submitted = labels if competition.form.takes_labels else rule.adjusted(merged)
    rows = submission_rows(competition.sample, competition.form, ids, classes, submitted)
    path = submission_path(experiment)
    newest = path.with_name("submission.csv")
    if experiment.settings.tune.runs:
        write_probabilities(experiment, "test", merged)
    for file in (path, newest):
        write_submission(file, competition, rows)
    add_to_ledger(path.with_name("ledger.csv"), ledger_row(stage, path, table))

    private = None
    if solution is not None:
        singles = [
            Rule.from_json(decision["fold_rules"][str(fold)]).predict_runs(models, experiment.metric)
            for fold, models in enumerate(members)
        ]
        private = private_scores(solution, experiment, singles, rule.predict(merged, experiment.metric))
    shares = class_shares(classes, merged.argmax(axis=1), labels)
    scores = {**asdict(table), "private": asdict(private) if private else None}
    write_json(stage.folder / "scores.json", {**scores, "exponent": exponent, "class_shares": shares})
    tables = LARGE_TABLES[1:] + TABLES[1:] if experiment.settings.tune.runs else ()
    stage.finish(started, tables, submission=path.name, sha256=sha256_file(path))

    if len(runs) > 1:
        print("ensemble: " + ", ".join(f"{run.name} {w:.3f}" for run, w in zip(runs, rule.weights, strict=True)))
    models = f"{len(members)} folds{' and the full model' if full else ''}"
    print(f"ensemble: {models} merged, sharpened by exponent {exponent:.3f}, decision {rule.rung}")
    if not experiment.metric.of_probabilities and rule.rung != "argmax":
        print(share_line(shares))
    print(table.text() + (private.text(table) if private else ""))
    print(f"{newest} is ready to upload (also kept as {path.name})", flush=True)


def score_alone(
    experiment: Experiment, stage: StageRun, decision: Mapping[str, Any], runs: Sequence[RunLogits], started: float
) -> None:
    """Write what is known of the score, where the host hides the test images: the bundle writes the submission."""
    if experiment.settings.tune.runs:
        write_probabilities(experiment, "test", plain_mean(runs[0].test[0]))
    table = score_table(experiment, decision, runs)
    write_json(stage.folder / "scores.json", {**asdict(table), "private": None})
    stage.finish(started)
    print(table.text())
    print(
        f"no submission is written: the {len(experiment.competition.sample.ids):,} rows to predict have no image here;"
        f" `{shlex.join(['./run.sh', 'bundle', '--run', experiment.request.run])}` packs the notebook that predicts"
        " them where they are",
        flush=True,
    )


def full_models(rule: Rule, runs: Sequence[RunLogits]) -> list[list[Logits]]:
    """Return what the models on all rows predict, where each run that counts has one: one element, or none."""
    if any(run.full is None and weight > 0 for run, weight in zip(runs, rule.weights, strict=True)):
        return []
    return [[run.test[0] if run.full is None else run.full for run in runs]]


def share_line(shares: Mapping[str, tuple[float, float]], most: int = 10) -> str:
    """Return the classes whose shares of the test rows the decision changes most, by argmax and by the decision."""
    changed = {name: pair for name, pair in shares.items() if pair[0] != pair[1]}
    shown = sorted(changed, key=lambda name: -abs(changed[name][1] - changed[name][0]))[:most]
    line = ", ".join(f"{name} {changed[name][0]:.3f} -> {changed[name][1]:.3f}" for name in shown)
    rest = f", and {len(changed) - most} more" if len(changed) > most else ""
    return f"class shares by argmax -> by the decision: {line or 'unchanged'}{rest}"


def restore_newest(stage: StageRun) -> None:
    """Where another run has written submission.csv since, put this run's kept file back; redo it when that is gone."""
    if stage.request.force or not stage.done_file.exists():
        return
    done = read_done(stage.done_file)
    if "submission" not in done:  # the host hides the test images
        return
    kept = stage.request.root / "submissions" / done["submission"]
    newest = kept.with_name("submission.csv")
    if not kept.exists() or sha256_file(kept) != done["sha256"]:
        stage.done_file.unlink()
    elif not newest.exists() or sha256_file(newest) != done["sha256"]:
        write_atomic(newest, lambda file: file.write(kept.read_bytes()))
        print(f"ensemble: {newest} is {kept.name} again", flush=True)


def submission_path(experiment: Experiment) -> Path:
    """Return submissions/RUN-TIME.csv, a name that is not taken."""
    folder, run = experiment.request.root / "submissions", experiment.request.run
    path = folder / f"{run}-{time.strftime('%Y%m%d-%H%M%S')}.csv"
    while path.exists():
        path = path.with_stem(path.stem + "x")
    return path


def ledger_row(stage: StageRun, path: Path, table: ScoreTable) -> dict[str, str]:
    """Return what the ledger keeps of one submission."""
    return {
        "time": time.strftime("%Y-%m-%d %H:%M:%S"),
        "run": stage.request.run,
        "fingerprint": digest(stage.fingerprint)[:16],
        "metric": stage.request.settings.tune.metric,
        "raw": f"{table.raw[POOLED].score:z.5f}",
        "cross_fitted": f"{table.cross_fitted[POOLED].score:z.5f}",
        "sha256": sha256_file(path),
        "file": path.name,
    }


main = command_line(run, __doc__, blends=True)

if __name__ == "__main__":
    run_stage(main)
