"""Does it pay? Variants x seeds x folds beside a baseline: trained, or resumed, and put into a table and a plot."""

import argparse
from collections.abc import Sequence
from pathlib import Path

import finetune
import make_folds
import predict
import pretrain
import pseudo
import tune
from supcon.errors import UserError, run_stage
from supcon.settings.options import OptionsParser
from supcon.settings.sources import Flat
from supcon.study.decided import read_decided, whole_runs
from supcon.study.play import Play
from supcon.study.plot import write_plot
from supcon.study.read import read_study
from supcon.study.report import write_report
from supcon.study.runs import Runs, read_flags

STAGES = {"pseudo": pseudo.main, "pretrain": pretrain.main, "finetune": finetune.main, "predict": predict.main}

EPILOG = """The file, such as studies/digits.yaml, is YAML. config: the file that every variant starts from. flags, and
variants by name: settings by dotted key, {finetune.epochs: 20}. baseline: one of the variants. rounds: a list such as
[{folds: [0], seeds: [0], keep: 0.34}, {folds: all, seeds: [0, 1]}], where keep is how many variants (or what part of
them) go on beside the baseline. Any setting on the command line, such as --model.weights FILE, holds for all variants,
at later calls too."""


def main(argv: Sequence[str] | None = None) -> None:
    """Play the study, or as much of it as is asked for."""
    options, flags = read_options(argv)
    study = read_study(options.file, options.run)
    runs = Runs(study, Path(options.root).expanduser().resolve(), flags)
    if runs.flags:
        print(f"study: for all variants: {' '.join(f'--{key} {value}' for key, value in runs.flags.items())}")
    make_folds.main(runs.arguments(study.baseline, 0))
    tune.check_form(runs.shared)
    metric = runs.shared.metric
    runs.settle_precision()
    play = Play(study, runs, STAGES, force=options.force)

    while cells := play.recall():
        if options.list or options.table_only:
            break
        runs.keep()
        for cell in cells:
            play.train(cell)
            write_report(runs.folder, study, metric, play.rounds(), play.results)
    if options.list:
        print(play.text())
        return
    whole = whole_runs(play.rounds(), runs.fold_count)
    for variant, seed in whole:  # recipes are judged by their cross-fitted decisions in the end
        tune.main([*runs.arguments(variant, seed), *(["--force"] if options.force else [])])
    decided = read_decided(runs, whole, study.baseline)
    print("\n" + write_report(runs.folder, study, metric, play.rounds(), play.results, decided))
    plot = runs.folder / "plot.png"
    write_plot(plot, play.rounds(), study.name, study.baseline, metric)
    tables = "table.md, table.csv and plot.png" if plot.exists() else "table.md and table.csv"
    print(f"study: {tables} are in {runs.folder}", flush=True)
    play.require_baseline()


def read_options(argv: Sequence[str] | None) -> tuple[argparse.Namespace, Flat]:
    """Return the study's own options, and the settings beside them by key."""
    parser = OptionsParser(__doc__, EPILOG)
    parser.add_argument("file", metavar="FILE", help="the study: config, flags, baseline, variants, rounds (YAML)")
    parser.add_argument("--run", metavar="NAME", default="", help="name of the study (default: the file's)")
    parser.add_argument("--list", action="store_true", help="show the cells and their state; train nothing")
    parser.add_argument("--table-only", action="store_true", help="write the tables of what is done; train nothing")
    parser.add_argument(
        "--force",
        action="store_true",
        help="redo cells that failed or whose settings have changed; old files are kept in runs/RUN/old/",
    )
    options, words = parser.parse_known_args(argv)
    flags = read_flags(words)
    if "config" in flags:
        raise UserError(f"--config: {options.file} names the config of its variants: change it there")
    if options.force and (options.list or options.table_only):
        raise UserError("--force redoes cells, --list and --table-only train nothing: use one of them")
    return options, flags


if __name__ == "__main__":
    run_stage(main)
