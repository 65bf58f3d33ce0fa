"""Folds of a run side by side: `python -m supcon.cluster.folds "PAGE ..." --jobs 4`, as run.sh calls it for `all`.

Each fold goes through the stages of these pages in one task. A fold that fails leaves the others to go on.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

from supcon.cluster.start import open_runner
from supcon.cluster.tasks import Task, require_all
from supcon.errors import run_stage
from supcon.run.experiment import load_experiment
from supcon.run.stages import STAGES, load_page
from supcon.settings import Request, fold_name, parse
from supcon.settings.tasks import TaskOptions
from supcon.storage import lock
from supcon.tracking import require_trackers


def fold_command(
    page: str, run: Callable[[Request], None], description: str | None, *, blends: bool = False
) -> Callable[[Sequence[str] | None], None]:
    """Return the `main(argv)` of a stage that folds go through: one after the other, or with `--jobs` side by side.

    A stage that averaged weights have takes `--runs` and `--soup` too, as `blends` says.
    """

    def main(argv: Sequence[str] | None) -> None:
        request = parse(description, argv, per_fold=True, blends=blends, tasks=True)
        if request.tasks.many:
            run_folds(request, [page])
        else:
            run(request)

    return main


def run_folds(request: Request, pages: Sequence[str]) -> None:
    """Run the stages of `pages` for each fold, in tasks. Raises `UserError` with what stopped any of them."""
    require_trackers(request.settings)
    experiment = load_experiment(request)
    experiment.open_training_images()  # decoded before, by all cores together
    experiment.open_prediction_images()
    stages = [stage for stage in STAGES if stage.module in pages]
    with lock.alone(request.run_folder / ".folds.lock", f"{', '.join(pages)} of run {request.run}"):
        folds = [fold for fold in experiment.folds if request.force or not experiment.finished(fold, stages)]
        if not folds:
            print(f"{', '.join(pages)}: done already", flush=True)
            return
        with open_runner(request) as runner:
            of_task, log = replace(experiment.request, tasks=TaskOptions()), request.run_folder / "precision.txt"
            if any(stage.curves for stage in stages) and request.settings.train.precision == "auto":
                # once for all tasks, by one's share of a machine
                of_task = runner.call(Task("precision", with_precision, (of_task,), log))
            require_all(runner.run([task_of(of_task, pages, fold) for fold in folds]))


def task_of(request: Request, pages: Sequence[str], fold: int) -> Task:
    """Return the task that takes a fold through the stages of `pages`."""
    return Task(f"fold {fold_name(fold)}", run_fold, (request, pages, fold), request.fold_folder(fold) / "log.txt")


def with_precision(request: Request) -> Request:
    """Return what is asked for with the precision chosen, where it is `auto`."""
    from supcon.training.precision import choose_precision

    return choose_precision(load_experiment(request)).request


def run_fold(request: Request, pages: Sequence[str], fold: int) -> None:
    """Run the stages of a fold."""
    for page in pages:
        load_page(page).run(replace(request, folds=[fold]))


def main(argv: Sequence[str] | None = None) -> None:
    """Run the pages that the first word names."""
    pages, *words = sys.argv[1:] if argv is None else argv
    run_folds(parse(__doc__, words, per_fold=True, blends=True, tasks=True), pages.split())


if __name__ == "__main__":
    run_stage(main)
