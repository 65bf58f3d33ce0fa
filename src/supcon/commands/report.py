"""Write runs/NAME/report.html: what a run is worth, where the next point is, and what it was made of."""

import time
from collections.abc import Sequence

from supcon.errors import UserError, run_stage
from supcon.report.page import Missing, render
from supcon.report.run import Run, open_run
from supcon.settings import Request, open_request, parse
from supcon.settings.parse import Parser
from supcon.storage.files import write_text
from supcon.storage.sizes import bytes_text

EPILOG = "Example: ./run.sh report --run digits --corruptions --baseline digits-ce"


def main(argv: Sequence[str] | None = None) -> None:
    """Write one run's page."""
    request = parse(__doc__, argv, add_options, epilog=EPILOG)
    options = request.options
    if options.rows < 1:
        raise UserError(f"--rows {options.rows}: at least 1 row of each fold is needed")
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

    measure(run.experiment, rows)
    scores = write_scores(run.experiment, rows)
    print(f"report: corruption F1 {scores.corruption_f1:.4f}, undamaged {scores.clean:.4f}", flush=True)


def about(run: Run) -> str:
    """Return the size of a run in one line."""
    return (
        f"{len(run.rows):,} scored rows, {len(run.classes):,} classes, {len(run.folds)} folds;"
        f" {len(run.experiment.competition.test):,} test rows"
    )


if __name__ == "__main__":
    run_stage(main)
