"""Judge a finished run's frozen features by few-shot episodes: a few rows of each class classify the others."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.errors import UserError, run_stage
from supcon.metrics.episodes import EpisodeShape, mean_with_interval
from supcon.report.few_shot import play_folds
from supcon.report.run import Run, open_run
from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import open_request
from supcon.settings.parse import Parser, absolute, parse_options
from supcon.settings.sources import Flat, only_run
from supcon.storage.files import digest, write_csv
from supcon.storage.tables import read_own_table

EPILOG = """Example: ./run.sh fewshot --run demo --ways 5 --shots 1. Each fold's encoder embeds its held-out rows: it
was trained on their classes, not on these rows (in a second round on some, with pseudo-labels). With --on it embeds
another competition, on which the run was not trained; settings such as --data.label_column then say how that one is
read, and it needs its folds/folds.csv. Episodes share rows: the interval says how exactly the mean is known, not how
other images would score."""
RESULTS = ["accuracy", "low", "high"]  # columns of the table; all other columns together name one setting
COUNTS = {  # options: default, smallest value, help
    "ways": (5, 2, "classes of an episode"),
    "shots": (1, 1, "labelled rows of each class"),
    "queries": (15, 1, "rows of each class to classify; fewer where it has fewer"),
    "episodes": (1000, 2, "episodes of each fold"),
    "rows": (5000, 1, "rows of --on to embed, at most"),
    "seed": (0, 0, "seed of the episodes"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Play the episodes."""
    options, flags = read_options(argv)
    of_other = {key: value for key, value in flags.items() if options.on and key.startswith("data.")}
    own = {key: value for key, value in flags.items() if key not in of_other}
    run = open_run(open_request(options.root, options.run or only_run(options.root), given=own))
    other = open_other(run, options.on, of_other) if options.on else None
    seen = "; some of them were too, with a pseudo-label" if run.experiment.settings.pseudo.run else ""
    which = f"rows of {other.request.root}" if other else f"held-out rows, of classes that were trained on{seen}"
    shots = f"{options.shots} shot{'s' * (options.shots != 1)} and {options.queries} queries a class"
    print(f"fewshot: {options.space} of run {run.name}, {which}")
    print(f"fewshot: {options.episodes:,} episodes a fold of {options.ways} ways, {shots}", flush=True)
    shape, limit = EpisodeShape(options.ways, options.shots, options.queries), options.rows
    accuracies = play_folds(run, other, limit, options.space, shape, options.episodes, options.seed)
    setting = {name: getattr(options, name) for name in ("space", *COUNTS)}
    setting |= {"on": other.request.root, "rows": limit} if other else {"on": "", "rows": ""}
    setting["models"] = digest(run.experiment.own_run.inputs)[:12]  # others after --force
    table = []
    for fold, values in [*enumerate(accuracies), ("all", np.concatenate(accuracies))]:
        mean, low, high = (f"{value:.4f}" for value in mean_with_interval(values))
        print(f"{fold if fold == 'all' else f'fold {fold}':<10}{mean} [{low}, {high}]")
        table.append({**setting, "fold": fold, **dict(zip(RESULTS, (mean, low, high), strict=True))})
    path = run.folder / "fewshot.csv"
    add_rows(path, pd.DataFrame(table).astype(str))
    print(f"fewshot: {path}", flush=True)


def read_options(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Flat]:
    """Return the command's own options, and the settings beside them by key."""
    options, flags = parse_options(__doc__, argv, add_options, EPILOG, settings=True)
    for name, (_, least, _) in COUNTS.items():
        if getattr(options, name) < least:
            raise UserError(f"--{name} {getattr(options, name)}: it takes {least} or more")
    return options, flags


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    text = "folder below runs/ (default: the only one there is, else the config's name)"
    parser.add_argument("--run", metavar="NAME", default="", help=text)
    for name, (default, _, text) in COUNTS.items():
        parser.add_argument(f"--{name}", metavar="N", type=int, default=default, help=f"{text} (default: {default})")
    text = "features, which the classifier sees, or projections, behind the projection head (default: features)"
    parser.add_argument("--space", choices=["features", "projections"], default="features", help=text)
    parser.add_argument("--on", metavar="ROOT", default="", help="root of another competition whose rows are embedded")


def open_other(run: Run, on: str, given: Flat) -> Experiment:
    """Return another root's competition, with images as the run takes them. `UserError` for the run's own root."""
    root, data = absolute("--on", on), run.experiment.settings.data
    if root == run.experiment.request.root.resolve():
        raise UserError(f"--on {on} is the root of run {run.name}, which was trained on its classes: leave --on out")
    taken = ("image_size", "test_size", "fit", "store", "jpeg_quality")
    images = {f"data.{name}": getattr(data, name) for name in taken}
    return load_experiment(open_request(root, given={**given, **images}))


def add_rows(path: Path, rows: pd.DataFrame) -> None:
    """Write `rows` behind those of earlier calls, in place of those of the same setting."""
    before = [read_own_table(path, "move it away, and a new one is begun")] if path.exists() else []
    tables = [*before, rows]
    table = pd.concat(tables, ignore_index=True).fillna("")
    write_csv(path, table.drop_duplicates([name for name in rows if name not in RESULTS], keep="last"))


if __name__ == "__main__":
    run_stage(main)
