"""Say what was understood of input/, what is wrong with it, and how long a run will take. `all` begins with it."""

from collections.abc import Sequence
from dataclasses import asdict, replace

from supcon.competition.builtin import fill_empty
from supcon.competition.fetch import require_weights
from supcon.competition.folds import make_folds, read_folds
from supcon.competition.survey import Survey, survey
from supcon.errors import UserError, run_stage
from supcon.run.experiment import Experiment
from supcon.run.split import Split
from supcon.run.stage import write_resolved
from supcon.run.stages import fold_stages
from supcon.run.verify import verify
from supcon.settings import Request, parse
from supcon.settings.budget import budget_of, duration, fit_epochs
from supcon.settings.parse import Parser
from supcon.tracking import require_trackers
from supcon.training.precision import fastest_precision


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command."""
    request = parse(__doc__, argv, add_options, tasks=True)
    if request.options.verify:
        verify_files(request)
        return
    require_trackers(request.settings)
    budget = budget_of(request)
    fill_empty(request.root / "input", request.settings.data.builtin)
    try_encoder(request)
    overview = survey(request)
    print(overview.text(), flush=True)
    if request.tasks.many:
        print(f"{'tasks':<12}{request.tasks}", flush=True)
    chosen = budget > 0 and (request.run_folder / "resolved.yaml").exists()
    if chosen:
        print(f"{'epochs':<12}{_epochs(request)}, as chosen when run {request.run} began")
    if request.options.quick and (chosen or not budget):
        return
    time_run(experiment_of(overview), 0.0 if chosen else budget)


def add_options(parser: Parser) -> None:
    """Add this command's own options."""
    parser.add_argument(
        "--quick", action="store_true", help="leave out the timed batches, unless --time_budget needs them"
    )
    parser.add_argument(
        "--verify", action="store_true", help="only compare all weights, predictions and pixels with their checksums"
    )


def verify_files(request: Request) -> None:
    """Compare all files of the root's runs and cache with their checksums; `UserError` where some are damaged."""
    result = verify(request.root)
    for line in result.damaged:
        print(f"{'damaged':<12}{line}")
    if result.unknown:
        shown = f"{result.unknown[0]}" + (", ..." if len(result.unknown) > 1 else "")
        print(f"{'unknown':<12}{len(result.unknown):,} of an earlier version, without a checksum: {shown}")
    what = f"{result.files:,} files of runs and cache, {result.images:,} images"
    print(f"{'verified':<12}{what}: {len(result.damaged) or 'none'} damaged", flush=True)
    if result.damaged:
        more = f", and {len(result.damaged) - 1:,} more, each in a line above" if len(result.damaged) > 1 else ""
        raise UserError(f"{result.damaged[0]}{more}")


def try_encoder(request: Request) -> None:
    """Make the encoder that a fold has yet to train, on none of the hub's weights, and show it an image of each size.

    Raises `UserError` for what timm refuses, before any image is decoded. It takes torch, some seconds to load.
    """
    settings = request.settings
    first = next(stage for stage in fold_stages(settings) if stage.name in ("pretrain", "finetune"))
    done_files = (request.fold_folder(fold) / f"{first.name}.done.json" for fold in range(settings.data.folds))
    if all(path.exists() for path in done_files) and not request.force:
        return
    print(f"{'encoder':<12}{settings.model.encoder}, images of {settings.data.image_size} pixels", flush=True)
    import torch

    from supcon.training.model.encoder import encoder_of

    if settings.model.weights:
        require_weights(request)
    torch.set_num_threads(1)  # the images are two or three, and each thread could meet a limit
    encoder_of(settings, load_weights=bool(settings.model.weights))


def experiment_of(overview: Survey) -> Experiment:
    """Return the experiment on its split, or on the one that will be made."""
    request, train = overview.request, overview.competition.train
    path = request.root / "folds" / "folds.csv"
    if path.exists():
        split = read_folds(path, train, request.settings.data)
    else:
        split = make_folds(
            train, overview.copies.within_train, overview.unreadable_training_rows, request.settings.data
        )
    return Experiment(request, overview.competition, Split(split))


def time_run(experiment: Experiment, budget: float) -> None:
    """Time a few batches and print how long the stages take, with the epochs that fit a `budget` of seconds."""
    from supcon.training.timing import time_stages

    if experiment.settings.model.weights:
        require_weights(experiment.request)
    experiment = fastest_precision(experiment)
    request, settings = experiment.request, experiment.settings
    timing = time_stages(experiment)
    if budget:
        pretrain, finetune = settings.pretrain, settings.finetune
        stages = [(pretrain.epochs, timing.pretrain_epoch), (finetune.epochs, timing.finetune_epoch)]
        epochs = fit_epochs(budget, settings.data.folds, timing.finetune_start + timing.predict, stages)
        settings = replace(
            settings, pretrain=replace(pretrain, epochs=epochs[0]), finetune=replace(finetune, epochs=epochs[1])
        )
        request = replace(request, settings=settings, measured={**request.measured, "seconds": asdict(timing)})
        write_resolved(request)
        kept = request.run_folder / "resolved.yaml"
        print(f"{'epochs':<12}{_epochs(request)}: what fits {duration(budget)}; written to {kept}")
    a_fold = timing.fold(settings.pretrain.epochs, settings.finetune.epochs)
    print(
        f"{'time':<12}a fold: {settings.pretrain.epochs} x {timing.pretrain_epoch:.3g} s of pretrain,"
        f" {settings.finetune.epochs} x {timing.finetune_epoch:.3g} s of finetune, {duration(timing.predict)} of"
        f" predict; all {settings.data.folds} folds about {duration(settings.data.folds * a_fold)}",
        flush=True,
    )


def _epochs(request: Request) -> str:
    return f"{request.settings.pretrain.epochs} of pretrain, {request.settings.finetune.epochs} of finetune"


if __name__ == "__main__":
    run_stage(main)
