"""Does it pay? Variants x seeds x folds beside a baseline: trained, or resumed, and put into a table and a plot."""

import argparse
from collections.abc import Sequence
from dataclasses import replace

from supcon.cluster.start import open_runner
from supcon.cluster.tasks import Task, require_all
from supcon.errors import UserError, masked, run_stage
from supcon.run.stages import page_of
from supcon.settings.parse import Parser, parse_options
from supcon.settings.sources import Flat
from supcon.settings.tasks import add_task_options, read_task_options
from supcon.storage import lock
from supcon.study.cells import run_tune
from supcon.study.compare import read_whole_run_scores
from supcon.study.progress import Progress, whole_runs
from supcon.study.read import read_study
from supcon.study.report import write_plot, write_report, write_times
from supcon.study.runs import Runs
from supcon.tracking import require_trackers

EPILOG = """The file, such as studies/digits.yaml, is YAML. config: the file that every variant starts from. flags, and
variants by name: settings by dotted key, {finetune.epochs: 20}. baseline: the variant that others are compared with.
over: those that are compared with another one, {long-mixup: long}. rounds: a list such as
[{folds: [0], seeds: [0], keep: 0.34}, {folds: all, seeds: [0, 1]}], where keep is how many variants (or what part of
them) go on beside what they are compared with. Any setting on the command line, such as --model.weights FILE, holds for
all variants, at later calls too."""


def main(argv: Sequence[str] | None = None) -> None:
    """Play the study, or as much of it as is asked for."""
    options, flags = read_options(argv)
    study = read_study(options.file, options.run)
    runs = Runs(study, options.root, flags)
    if runs.flags:
        given = " ".join(f"--{key} {value}" for key, value in runs.flags.items())
        print(f"study: for all variants: {masked(given)}")
    page_of("folds").run(runs.request(study.baseline, 0))
    metric = runs.shared.metric
    progress = Progress(study, runs, force=options.force)
    if options.list or options.table_only:
        progress.cells_to_do()
    else:
        play(runs, progress, options)
    if options.list:
        print(progress.text())
        return
    pairs = whole_runs(progress.rounds(), runs.fold_count)
    scores = read_whole_run_scores(runs, pairs, study.baseline, study.over)
    print("\n" + write_report(runs.folder, study, metric, progress.rounds(), progress.results, scores))
    plot = runs.folder / "plot.png"
    write_plot(plot, progress.rounds(), study.name, study.baseline, metric)
    tables = "table.md, table.csv and plot.png" if plot.exists() else "table.md and table.csv"
    print(f"study: {tables} are in {runs.folder}", flush=True)
    progress.require_baseline()


def play(runs: Runs, progress: Progress, options: argparse.Namespace) -> None:
    """Train what is not done, round by round; then tune the runs that are whole."""
    request = replace(runs.request(runs.study.baseline, 0), tasks=read_task_options(options))
    require_trackers(request.settings)
    with lock.alone(runs.folder / ".study.lock", f"study {runs.study.name}"):
        if runs.has_precision and not progress.cells_to_do() and not tunings(runs, progress, options.force):
            return
        with open_runner(request) as runner:
            runs.choose_precision(runner)
            while cells := progress.cells_to_do():
                runs.keep()
                for _ in progress.train(cells, runner):
                    write_report(runs.folder, runs.study, runs.shared.metric, progress.rounds(), progress.results)
                    write_times(runs.folder / "tasks.csv", progress.outcomes)
            require_all(runner.run(tunings(runs, progress, options.force)))


def tunings(runs: Runs, progress: Progress, force: bool) -> list[Task]:
    """Return the decisions to make: recipes are judged by their cross-fitted ones in the end."""
    tasks = []
    for variant, seed in whole_runs(progress.rounds(), runs.fold_count):
        experiment = runs.experiment(variant, seed)
        if force or not experiment.stage("tune").done():
            request = replace(experiment.request, force=force)
            tasks.append(Task(f"tune {variant}, seed {seed}", run_tune, (request,), request.run_folder / "tune.txt"))
    return tasks


def read_options(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Flat]:
    """Return the study's own options, and the settings beside them by key."""
    options, flags = parse_options(__doc__, argv, add_options, EPILOG, settings=True)
    if options.config:
        raise UserError(f"--config: {options.file} names the config of its variants: change it there")
    if options.force and (options.list or options.table_only):
        raise UserError("--force redoes cells, --list and --table-only train nothing: use one of them")
    return options, flags


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    parser.add_argument("file", metavar="FILE", help="the study: config, flags, baseline, variants, rounds (YAML)")
    parser.add_argument("--run", metavar="NAME", default="", help="name of the study (default: the file's)")
    add_task_options(parser)
    parser.add_argument("--config", help=argparse.SUPPRESS)  # to be told where it belongs
    parser.add_argument("--list", action="store_true", help="show the cells and their state; train nothing")
    parser.add_argument("--table-only", action="store_true", help="write the tables of what is done; train nothing")
    parser.add_argument(
        "--force",
        action="store_true",
        help="redo cells that failed or whose settings have changed; old files are kept in runs/RUN/old/",
    )


if __name__ == "__main__":
    run_stage(main)
