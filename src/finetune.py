"""Train each fold's classifier on its encoder: a head on frozen features, or the whole network."""

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
    require_trackers(request.settings)
    if not STAGE["finetune"].plays(request.settings):
        print("finetune: left out (the weights are the mean of those of average.runs)", flush=True)
        return
    experiment = choose_precision(load_experiment(request))
    if launch(experiment, "finetune"):
        return
    for fold, stage in work(experiment, "finetune"):
        finetune_fold(experiment, stage, fold)


def finetune_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Train one classifier: classifier.safetensors, which holds its encoder and its projection head too."""
    print(f"{stage.label}: {experiment.task(fold, experiment.settings.finetune.epochs)}", flush=True)
    from supcon.training.build import classifier_training
    from supcon.training.device import set_up_device
    from supcon.training.loop import Plan, train
    from supcon.training.model.weights import save_weights
    from supcon.training.ranks import is_first

    started = time.time()
    settings = experiment.settings
    device = set_up_device(settings.machine)
    pretrained = stage.folder / "encoder.safetensors" if settings.pretrain.epochs else None
    training = classifier_training(experiment, fold, device, pretrained)
    plan = Plan(stage, settings.finetune, settings.train, device)
    trained, log = train(training, plan)

    if not is_first():
        return  # one writes
    encoder = trained["encoder"] if settings.finetune.mode == "full" else training.encoder
    heads = {name: trained[name] for name in ("classifier", "projection") if name in trained}
    save_weights(stage.folder / "classifier.safetensors", encoder=encoder, **heads)
    stage.finish(started, last_epoch=log.rows[-1])
    plan.checkpoint.unlink(missing_ok=True)


main = fold_command("finetune", run, __doc__)

if __name__ == "__main__":
    run_stage(main)
