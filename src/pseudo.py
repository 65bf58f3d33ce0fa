"""Label the rows that an earlier run is sure of, for a second round of training (`pseudo.run` names it)."""

from supcon.environment import hand_over

hand_over(__name__)

import time

from supcon.cluster.folds import fold_command
from supcon.errors import run_stage
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.pseudo import FILE, TEST_ROWS, pseudo_labels
from supcon.run.stage import StageRun
from supcon.run.stages import STAGE
from supcon.settings import Request, fold_name
from supcon.storage.files import write_csv


def run(request: Request) -> None:
    """Run the stage for the folds asked for; nothing where no run is named, as in most runs of `all`."""
    if not STAGE["pseudo"].plays(request.settings):
        return
    experiment = load_experiment(request)
    for fold, stage in experiment.work("pseudo"):
        label_fold(experiment, stage, fold)


def label_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Write one fold's labels: pseudo.csv."""
    started = time.time()
    labels, temperature = pseudo_labels(experiment, fold)
    write_csv(stage.folder / FILE, labels)
    counts = labels["label"].value_counts()
    stage.finish(started, temperature=temperature, classes={name: int(counts[name]) for name in sorted(counts.index)})
    surety = f", at {labels['confidence'].min():.3f} or more" if len(labels) else ""
    test = int((labels["part"] == TEST_ROWS).sum())
    rows = f"{test} of {len(experiment.test_positions)} test rows and {len(labels) - test} of"
    rows += f" {len(experiment.split.rows_of(fold))} held-out rows, {len(counts)} classes"
    by = f"by fold {fold_name(fold)} of run {experiment.settings.pseudo.run}"
    print(f"{stage.label}: {rows}, {by}{surety} (temperature {temperature:.3f})", flush=True)


main = fold_command("pseudo", run, __doc__)

if __name__ == "__main__":
    run_stage(main)
