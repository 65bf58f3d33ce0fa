"""Train each fold's classifier on its encoder: a head on frozen features, or the whole network."""

import time
from collections.abc import Sequence

from supcon.artifacts.stage import StageRun
from supcon.config import parse
from supcon.errors import run_stage
from supcon.experiment import Experiment, load_experiment


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage for the folds asked for."""
    call = parse(__doc__, argv, per_fold=True)
    experiment = load_experiment(call)
    for fold in experiment.folds:
        stage = experiment.stage("finetune", fold)
        if stage.ready():
            finetune_fold(experiment, stage, fold)


def finetune_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Train one classifier: classifier.safetensors, which holds its encoder too."""
    from supcon.engine.device import set_up_device
    from supcon.engine.fold import FoldData
    from supcon.engine.loop import Plan, train
    from supcon.engine.objectives import Classification
    from supcon.engine.optimizer import adamw, encoder_groups, head_groups
    from supcon.model.encoder import Encoder, load_weights, nn, save_weights
    from supcon.model.heads import classifier_head, contrast_parts
    from supcon.randomness import seed_everything

    started = time.time()
    settings = experiment.call.settings
    options, shared = settings.finetune, settings.train
    pretrained = settings.pretrain.epochs > 0
    device = set_up_device(settings.machine)
    data = FoldData(experiment, fold, device)

    seed_everything(shared.seed, "finetune", fold)
    encoder = Encoder(
        settings.model, settings.data.image_size, load_weights=not pretrained, channels_last=shared.channels_last
    )
    # built only where it is trained: elsewhere it would shift the classifier's random start, which no fingerprint tells
    classes = len(experiment.classes)
    contrast = contrast_parts(encoder.width, classes, settings.pretrain) if options.contrasts else {}
    classifier = classifier_head(encoder.width, classes, options.mode, settings.model.dropout)
    if pretrained:
        load_weights(stage.folder / "encoder.safetensors", encoder=encoder, **contrast)
    encoder.to(device)

    sampler = data.classifier_sampler()
    heads = [classifier, *contrast.values()]
    if options.mode == "full":
        loader = data.classifier_loader(sampler)
        groups = encoder_groups(encoder.backbone, options.encoder_lr, options.layer_decay, options.weight_decay)
        model = nn.ModuleDict({"encoder": encoder, "classifier": classifier, **contrast})
    else:
        loader = data.feature_loader(sampler, encoder)
        groups = []
        model = nn.ModuleDict({"encoder": nn.Identity(), "classifier": classifier})
    optimizer = adamw(groups + head_groups(heads, options.lr, options.weight_decay))
    held_out = data.held_out_score if options.mode == "full" else data.held_out_feature_score(encoder)
    objective = Classification(options, settings.pretrain, data.sampling_prior.to(device), held_out)
    plan = Plan(stage, options, shared, device)
    trained, log = train(model.to(device), objective, loader, sampler, optimizer, plan)

    trained_encoder = trained["encoder"] if options.mode == "full" else encoder
    save_weights(stage.folder / "classifier.safetensors", encoder=trained_encoder, classifier=trained["classifier"])
    stage.finish(started, last_epoch=log.rows[-1])
    plan.checkpoint.unlink(missing_ok=True)


if __name__ == "__main__":
    run_stage(main)
