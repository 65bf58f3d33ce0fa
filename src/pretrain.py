"""Pre-train each fold's encoder by supervised contrast in class-balanced batches, on its training rows alone."""

from supcon.environment import hand_over

hand_over(__name__)

import time

from supcon.cluster.folds import fold_command
from supcon.cluster.launch import launch, run_stage, work
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.stage import StageRun
from supcon.run.stages import STAGE
from supcon.settings import Request
from supcon.tracking import require_trackers
from supcon.training.precision import choose_precision


def run(request: Request) -> None:
    """Run the stage for the folds asked for."""
    if not STAGE["pretrain"].plays(request.settings):
        averages = bool(request.settings.average.runs)
        why = "the weights are the mean of those of average.runs" if averages else "pretrain.epochs is 0"
        print(f"pretrain: left out ({why})", flush=True)
        return
    require_trackers(request.settings)
    experiment = choose_precision(load_experiment(request))
    if launch(experiment, "pretrain"):
        return
    for fold, stage in work(experiment, "pretrain"):
        pretrain_fold(experiment, stage, fold)


def pretrain_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Train one encoder and its projection head: encoder.safetensors."""
    print(f"{stage.label}: {experiment.task(fold, experiment.settings.pretrain.epochs)}", flush=True)
    from supcon.training.build import contrastive_training
    from supcon.training.device import set_up_device
    from supcon.training.loop import Plan, train
    from supcon.training.model.weights import save_weights
    from supcon.training.ranks import is_first

    started = time.time()
    settings = experiment.settings
    device = set_up_device(settings.machine)
    training = contrastive_training(experiment, fold, device)
    plan = Plan(stage, settings.pretrain, settings.train, device)
    trained, log = train(training, plan)

    if not is_first():
        return  # one writes
    save_weights(stage.folder / "encoder.safetensors", **trained)
    stage.finish(started, last_epoch=log.rows[-1])
    plan.checkpoint.unlink(missing_ok=True)


main = fold_command("pretrain", run, __doc__)

if __name__ == "__main__":
    run_stage(main)
