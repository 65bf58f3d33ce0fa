"""Average the weights of several runs, fold by fold, in place of training (`--runs A B --soup greedy`)."""

from supcon.environment import hand_over

hand_over(__name__)

import time

import pandas as pd

from supcon.cluster.folds import fold_command
from supcon.errors import run_stage
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.stage import StageRun
from supcon.run.stages import STAGE
from supcon.settings import FULL, Request
from supcon.storage.files import write_csv


def run(request: Request) -> None:
    """Run the stage for the folds asked for; nothing where the run is trained, as most runs of `all` are."""
    if not STAGE["soup"].plays(request.settings):
        return
    experiment = load_experiment(request)
    for fold, stage in experiment.work("soup"):
        average_fold(experiment, stage, fold)


def average_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Write one fold's average, classifier.safetensors; where runs were chosen, soup.csv says how."""
    choice, names = experiment.settings.average.choice, [run.name for run in experiment.averaged]
    print(f"{stage.label}: {choice} average of {', '.join(names)}", flush=True)
    from supcon.training.model.weights import save_weights
    from supcon.training.soup import Soup

    started = time.time()
    soup, taken, said = Soup(experiment, stage, fold), names, ""
    if choice == "greedy":
        trials = soup.choose()
        write_csv(stage.folder / "soup.csv", pd.DataFrame(trials))
        kept = [trial for trial in trials if trial.taken]
        taken = [name for name in names if name in {trial.run for trial in kept}]
        scores = f"{experiment.metric.title} {kept[-1].average:z.4f}, {kept[0].run} alone {kept[0].alone:z.4f}"
        said = f", on the rows of {'all' if fold == FULL else 'the other'} folds {scores}"
    model = soup.model(taken)
    parts = {"projection": model.projection} if model.projection else {}
    save_weights(stage.folder / "classifier.safetensors", encoder=model.encoder, classifier=model.classifier, **parts)
    stage.finish(started, runs=taken)
    print(f"{stage.label}: {' + '.join(taken)} of {len(names)} runs{said}", flush=True)


main = fold_command("soup", run, __doc__, blends=True)

if __name__ == "__main__":
    run_stage(main)
