"""Hold runs of one split against each other: runs/compare-A-B.html, and a short table here."""

import argparse
import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from supcon.arrays import Scores
from supcon.cluster.start import open_runner
from supcon.cluster.tasks import Task, require_all
from supcon.errors import UserError, run_stage
from supcon.report.page import render
from supcon.report.run import Run, open_run
from supcon.settings import Request, open_request
from supcon.settings.parse import Parser, parse_options
from supcon.settings.tasks import TaskOptions, add_task_options, read_task_options
from supcon.storage.files import write_text
from supcon.storage.sizes import bytes_text

_LONGEST = 120  # characters of the page's name
EPILOG = """Example: ./run.sh compare digits-ce digits-joint. Runs must be tuned, on the same split and for the same
metric; the first is what the others are held against."""


def main(argv: Sequence[str] | None = None) -> None:
    """Compare runs."""
    options = read_options(argv)
    started = time.time()
    runs = [open_run(open_request(options.root, name)) for name in options.runs]
    from supcon.report.comparison.run_comparison import RunComparison, require_comparable
    from supcon.report.comparison.sections import sections  # imports matplotlib

    require_comparable(runs)
    comparison = RunComparison(runs, draw_side_by_side(runs, options.tasks) if options.tasks.many else ())
    print(comparison.text(), flush=True)
    first = runs[0]
    about = (
        f"{len(first.rows):,} scored rows, {len(first.classes):,} classes, {len(first.folds)} folds."
        f" Made {time.strftime('%Y-%m-%d %H:%M')}."
    )
    page = render(f"{', '.join(comparison.names[1:])} against {first.name}", about, sections(comparison))
    path = page_path(first.folder.parent, options.runs)
    write_text(path, page)
    print(f"compare: {path} ({bytes_text(len(page.encode()))}, {time.time() - started:.0f} s)", flush=True)


def draw_side_by_side(runs: Sequence[Run], tasks: TaskOptions) -> list[Scores]:
    """Return each run's scores on the bootstrap samples, a task a run."""
    first = runs[0].experiment.request
    with open_runner(replace(first, tasks=tasks)) as runner:
        outcomes = runner.run(
            [Task(run.name, draw, (first, run.experiment.request), run.folder / "compare.txt") for run in runs]
        )
        drawn = {outcome.task.name: outcome for outcome in outcomes}
    require_all(drawn.values())
    return [drawn[run.name].value for run in runs]


def draw(first: Request, request: Request) -> Scores:
    """Return a run's scores on the bootstrap samples of the `first`."""
    return open_run(first).bootstrap([open_run(request).predicted])[0]


def read_options(argv: Sequence[str] | None) -> argparse.Namespace:
    """Return this command's options."""
    options, _ = parse_options(__doc__, argv, add_options, EPILOG)
    options.tasks = read_task_options(options)
    twice = [name for number, name in enumerate(options.runs) if name in options.runs[:number]]
    if twice:
        raise UserError(f"run {twice[0]} is named twice: name each run once")
    if len(options.runs) < 2:
        raise UserError(f"only {options.runs[0]} is named: name two runs or more")
    return options


def add_options(parser: Parser) -> None:
    """Add this command's options."""
    parser.add_argument("runs", metavar="RUN", nargs="+", help="names of two runs or more")
    add_task_options(parser)


def page_path(folder: Path, runs: Sequence[str]) -> Path:
    """Return where the comparison of some runs goes, below runs/."""
    name = "compare-" + "-".join(runs)
    if len(name) > _LONGEST:
        name = f"compare-{runs[0][:60]}-and-{len(runs) - 1}-others-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return folder / f"{name}.html"


if __name__ == "__main__":
    run_stage(main)
