"""Pre-train each fold's encoder with the supervised contrastive loss, on that fold's training rows alone."""

import time
from collections.abc import Sequence

from supcon.artifacts.stage import StageRun
from supcon.config import parse
from supcon.errors import run_stage
from supcon.experiment import Experiment, load_experiment


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage for the folds asked for."""
    call = parse(__doc__, argv, per_fold=True)
    if call.settings.pretrain.epochs == 0:
        print("pretrain: left out (pretrain.epochs is 0)", flush=True)
        return
    experiment = load_experiment(call)
    for fold in experiment.folds:
        stage = experiment.stage("pretrain", fold)
        if stage.ready():
            pretrain_fold(experiment, stage, fold)


def pretrain_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Train one encoder and its projection head: encoder.safetensors."""
    from supcon.engine.device import set_up_device
    from supcon.engine.fold import FoldData
    from supcon.engine.loop import Plan, train
    from supcon.engine.memory import Memory
    from supcon.engine.objectives import ContrastivePretraining
    from supcon.engine.optimizer import adamw, encoder_groups, head_groups
    from supcon.model.encoder import Encoder, nn, save_weights
    from supcon.model.heads import contrast_parts
    from supcon.randomness import seed_everything

    started = time.time()
    settings = experiment.call.settings
    options, shared = settings.pretrain, settings.train
    device = set_up_device(settings.machine)
    data = FoldData(experiment, fold, device)
    sampler = data.contrastive_sampler()
    loader = data.contrastive_loader(sampler)

    seed_everything(shared.seed, "pretrain", fold)
    encoder = Encoder(settings.model, settings.data.image_size, load_weights=True, channels_last=shared.channels_last)
    contrast = contrast_parts(encoder.width, len(experiment.classes), options)
    model = nn.ModuleDict({"encoder": encoder, **contrast}).to(device)
    optimizer = adamw(
        encoder_groups(encoder.backbone, options.lr, options.layer_decay, options.weight_decay)
        + head_groups(contrast.values(), options.lr, options.weight_decay)
    )
    memory = Memory(model, options.memory, options.momentum) if options.memory else None
    objective = ContrastivePretraining(options, len(experiment.classes), data.held_out_features, memory)
    plan = Plan(stage, options, shared, device)
    trained, log = train(model, objective, loader, sampler, optimizer, plan)

    save_weights(stage.folder / "encoder.safetensors", **trained)
    stage.finish(started, last_epoch=log.rows[-1])
    plan.checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    run_stage(main)
