"""Sections on how the run was made: learning curves, time and memory, settings."""

from typing import Any

import pandas as pd

from supcon.plots import learning_curves, stage_times
from supcon.report.page import Block, Figure, Missing, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Run
from supcon.run.done import read_done, read_epochs
from supcon.run.stages import STAGE, STAGES
from supcon.settings import Settings
from supcon.settings.budget import duration
from supcon.settings.sources import shown_settings

CURVES = tuple(dict.fromkeys(column for stage in STAGES for column in stage.curves))  # columns of both stages' logs
WHERE = "pretrain, in class-balanced batches, ends and finetune begins"
WITHOUT = "This run has no stage pretrain: --pretrain.epochs adds it"


def curves(run: Run) -> list[Block]:
    """Show both training stages epoch by epoch."""
    logs, begins = epochs_of(run)
    about = "Scores of held-out rows are watched here on a sample of them, and used for nothing."
    about += f" At the dotted line {WHERE}." if begins else f" {WITHOUT}."
    drawn = learning_curves(logs, CURVES, marks=[begins] if begins else [])
    return [Text(about), Figure(of_figure(drawn, "Learning curves, a line a fold"))]


def epochs_of(run: Run) -> tuple[dict[str, pd.DataFrame], float]:
    """Return both stages' epochs by fold, those of finetune counted on from pretrain's, and between which it begins.

    The latter is 0 for a run of finetune alone. Raises `Missing` where a stage that the run has left no log, and where
    the run was not trained.
    """
    if averaged := run.experiment.settings.average.runs:
        raise Missing(f"Run {run.name} was not trained: it averages {', '.join(averaged)}, whose reports show more.")
    parts: dict[str, list[pd.DataFrame]] = {}
    begins, before = 0.0, 0
    for stage in (stage for stage in STAGES if stage.curves and stage.plays(run.experiment.settings)):
        logs = training_logs(run, stage.name)
        if not logs:
            command = f"python src/{stage.module}.py --run {run.name} --force"
            raise Missing(f"Run {run.name} has no {stage.name}.csv: `{command}`.")
        for fold, log in logs.items():
            parts.setdefault(fold, []).append(log.assign(epoch=log["epoch"] + before))
        begins, before = before + 0.5 if before else 0.0, max(len(log) for log in logs.values())
    return {fold: pd.concat(tables, ignore_index=True) for fold, tables in parts.items()}, begins


def training_logs(run: Run, stage: str) -> dict[str, pd.DataFrame]:
    """Return the epochs of a training stage by fold, such as "fold 0", of the folds that have them."""
    paths = {f"fold {fold}": run.fold_folder(fold) / f"{stage}.csv" for fold in run.folds}
    return {fold: read_epochs(path) for fold, path in paths.items() if path.exists()}


def costs(run: Run) -> list[Block]:
    """Show the time and memory of every stage."""
    done = {stage.name: facts for stage in STAGES if (facts := _done(run, stage.name))}
    if not done:
        raise Missing(f"Run {run.name} keeps no times: its done.json files are gone.")
    seconds = {
        stage: {fold: _seconds(run, stage, fold, facts) for fold, facts in folds.items()}
        for stage, folds in done.items()
    }
    memory = {stage: known for stage, folds in done.items() if (known := _known(folds, "peak_memory_mb"))}
    totals = {stage: sum(folds.values()) for stage, folds in seconds.items()}
    rows = [
        [stage, f"{total:,.0f}", f"{total / len(done[stage]):,.1f}",
         *(_peak(_known(done[stage], name)) for name in ("peak_memory_mb", "peak_gpu_memory_mb"))]
        for stage, total in totals.items()
    ]  # fmt: skip
    took = duration(sum(totals.values()))
    return [
        Text(f"All stages took {took} in all. Memory is the peak of the process up to a stage's end."),
        Figure(of_figure(stage_times(seconds, memory or None), "Seconds of each stage, by fold")),
        Table(["stage", "seconds", "each", "GB", "GB on the GPU"], rows),
    ]


def settings(run: Run) -> list[Block]:
    """List the settings that differ from the defaults."""
    given, defaults = shown_settings(run.experiment.settings), shown_settings(Settings())
    rows = [[key, str(value), str(defaults[key])] for key, value in given.items() if value != defaults[key]]
    about = f"Made from the config {run.experiment.request.config}; {run.name}/resolved.yaml holds every setting."
    if not rows:
        return [Text(f"{about} All are the defaults.")]
    return [Text(about), Table(["setting", "here", "default"], rows, left=3)]


def _done(run: Run, stage: str) -> dict[str, dict[str, Any]]:
    """Return what a stage's done.json files hold by fold, or under "" where the stage has no folds."""
    places = {"": run.folder, **{f"fold {fold}": run.folder / f"fold{fold}" for fold in run.folds}}
    paths = {fold: folder / f"{stage}.done.json" for fold, folder in places.items()}
    return {fold: read_done(path) for fold, path in paths.items() if path.exists()}


def _known(done: dict[str, dict[str, Any]], name: str) -> dict[str, float]:
    """Return a fact by fold, of the folds that have it."""
    return {fold: float(facts[name]) for fold, facts in done.items() if name in facts}


def _peak(values: dict[str, float]) -> str:
    return f"{max(values.values()) / 1000:.2f}" if values else "-"


def _seconds(run: Run, stage: str, fold: str, done: dict[str, Any]) -> float:
    """Return a stage's seconds: done.json counts from the last resumption, the CSV all epochs but nothing beside."""
    log = run.folder / fold.replace(" ", "") / f"{stage}.csv"
    epochs = read_epochs(log, ["seconds"])["seconds"].sum() if STAGE[stage].curves and log.exists() else 0.0
    return max(float(done["seconds"]), float(epochs))
