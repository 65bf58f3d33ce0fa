"""Write runs/NAME/report.html: what a run is worth, where the next point is, and what it was made of."""

import time
from collections.abc import Sequence
from dataclasses import replace

from supcon.cluster.start import open_runner
from supcon.cluster.tasks import Task, require_all
from supcon.errors import UserError, run_stage
from supcon.report.page import Missing, render
from supcon.report.run import Run, open_run
from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import Request, fold_name, open_request, parse
from supcon.settings.parse import Parser
from supcon.storage.files import write_text
from supcon.storage.sizes import bytes_text
from supcon.tracking import require_trackers, track_page

EPILOG = "Example: ./run.sh report --run digits --corruptions --baseline digits-ce"


def main(argv: Sequence[str] | None = None) -> None:
    """Write one run's page."""
    request = parse(__doc__, argv, add_options, epilog=EPILOG, tasks=True, finished=True)
    options = request.options
    if options.rows < 1:
        raise UserError(f"--rows {options.rows}: at least 1 row of each fold is needed")
    if request.tasks.many and not options.corruptions:
        raise UserError("--jobs and --cluster are for --corruptions: give it too, or leave them out")
    require_trackers(request.settings)
    started = time.time()
    run = open_run(request)
    print(f"report: {about(run)}", flush=True)
    baseline = open_baseline(request, options.baseline) if options.baseline else None
    if options.corruptions:
        try_damaged_images(run, options.rows)
    from supcon.report.contents import sections  # imports matplotlib

    made = time.strftime("%Y-%m-%d %H:%M")
    page = render(f"Report of {run.name}", f"{about(run)}. Made {made}.", sections(run, baseline))
    path = run.folder / "report.html"
    write_text(path, page)
    print(f"report: {path} ({bytes_text(len(page.encode()))}, {time.time() - started:.0f} s)", flush=True)
    track_page(request, path)


def add_options(parser: Parser) -> None:
    """Add this command's own options; with `--force` damaged images are predicted anew."""
    parser.add_argument(
        "--corruptions", action="store_true", help="also predict damaged images: twelve corruptions x five severities"
    )
    parser.add_argument(
        "--rows", metavar="N", type=int, default=500, help="rows of each fold to damage, at most (default: 500)"
    )
    parser.add_argument("--baseline", metavar="RUN", default="", help="a run to compare the corruptions' harm with")


def open_baseline(request: Request, name: str) -> Run:
    """Return another run of the same root that has seen damaged images too; `UserError` where it has not."""
    from supcon.report.robustness import corruption_scores  # imports matplotlib

    baseline = open_run(open_request(request.root, name))
    try:
        corruption_scores(baseline)
    except Missing as reason:
        raise UserError(f"--baseline: {reason}") from None
    return baseline


def try_damaged_images(run: Run, rows: int) -> None:
    """Measure corruption F1, folds that are done left out."""
    if run.blended:
        raise UserError(f"--corruptions: run {run.name} has no models of its own: name one of the runs that it blends")
    from supcon.report.corruptions.measure import measure  # imports torch
    from supcon.report.corruptions.result import write_scores

    if run.experiment.request.tasks.many:
        measure_side_by_side(run.experiment, rows)
    else:
        measure(run.experiment, rows)
    scores = write_scores(run.experiment, rows)
    print(f"report: corruption F1 {scores.corruption_f1:.4f}, undamaged {scores.clean:.4f}", flush=True)


def measure_side_by_side(experiment: Experiment, rows: int) -> None:
    """Measure the folds in tasks."""
    request = experiment.request
    tasks = [
        Task(f"fold {fold_name(fold)}", measure_fold, (request, rows, fold), request.fold_folder(fold) / "damage.txt")
        for fold in experiment.folds
    ]
    with open_runner(request) as runner:
        require_all(runner.run(tasks))


def measure_fold(request: Request, rows: int, fold: int) -> None:
    """Measure one fold."""
    from supcon.report.corruptions.measure import measure

    measure(load_experiment(replace(request, folds=[fold])), rows)


def about(run: Run) -> str:
    """Return the size of a run in one line."""
    return (
        f"{len(run.rows):,} scored rows, {len(run.classes):,} classes, {len(run.folds)} folds;"
        f" {len(run.experiment.competition.test):,} test rows"
    )


if __name__ == "__main__":
    run_stage(main)
