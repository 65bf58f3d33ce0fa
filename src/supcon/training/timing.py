"""How long the stages of a run will take, estimated from a few timed batches of fold 0."""

import dataclasses
import time
from dataclasses import dataclass

import torch
from torch import nn

from supcon.images.augment.views import prediction_views
from supcon.run.experiment import Experiment
from supcon.training.build import classifier_training, contrastive_training
from supcon.training.device import autocast, gradient_scaler, set_up_device
from supcon.training.features import evaluate
from supcon.training.fold import FoldData
from supcon.training.growth import StageName, image_sides
from supcon.training.loader import fixed_loader, worker_count
from supcon.training.loop import Step, Training, training_step

WARM, TIMED = 2, 5  # batches


@dataclass(frozen=True)
class Timing:
    """The seconds that one fold takes."""

    pretrain_epoch: float  # 0 where the stage is left out
    finetune_epoch: float
    finetune_start: float  # to compute the features of a frozen encoder, once
    predict: float

    def fold(self, pretrain_epochs: int, finetune_epochs: int) -> float:
        """Return the seconds of one fold with these epochs."""
        training = self.pretrain_epoch * pretrain_epochs + self.finetune_epoch * finetune_epochs
        return training + self.finetune_start + self.predict


def time_stages(experiment: Experiment) -> Timing:
    """Time a few batches of each stage on fold 0, without writing anything.

    Rows with a pseudo-label make epochs longer, but may not be known yet: as many are assumed as `pseudo.share` allows.
    """
    settings = experiment.settings
    if settings.pseudo.run:
        plain = dataclasses.replace(settings, pseudo=dataclasses.replace(settings.pseudo, run=""))
        first = dataclasses.replace(experiment, request=dataclasses.replace(experiment.request, settings=plain))
        rows = len(FoldData(first, 0, torch.device("cpu")).train_rows)
        unlabelled = len(experiment.test_positions) + len(experiment.split.rows_of(0))
        timing, factor = time_stages(first), 1 + settings.pseudo.share * unlabelled / rows
        longer = {"pretrain_epoch": factor * timing.pretrain_epoch, "finetune_epoch": factor * timing.finetune_epoch}
        return dataclasses.replace(timing, **longer)
    device = set_up_device(settings.machine)
    pretrain = 0.0
    if settings.pretrain.epochs:
        pretrain = _epoch(contrastive_training(experiment, 0, device), experiment, device, "pretrain")
    started = time.perf_counter()
    training = classifier_training(experiment, 0, device, None)
    start = time.perf_counter() - started if settings.finetune.mode != "full" else 0.0
    finetune = _epoch(training, experiment, device, "finetune")
    return Timing(pretrain, finetune, start, _prediction(training.encoder, experiment, device))


def _epoch(training: Training, experiment: Experiment, device: torch.device, stage: StageName) -> float:
    """Return the mean seconds of an epoch: its batches, and the measurements at its end.

    Where images grow, batches of the last epoch are timed; earlier epochs are assumed to take time in proportion to
    their pixels.
    """
    training.model.train()
    settings = experiment.settings
    sides, precision = image_sides(settings, stage, training.encoder.patch), settings.train.precision
    share = sum(side**2 for side in sides) / (len(sides) * sides[-1] ** 2)
    scaler = gradient_scaler(device, precision)
    step = Step(0.5, 0, lambda: autocast(device, precision), scaler.scale)
    training.sampler.set_epoch(len(sides) - 1)
    batches, seconds, started = len(training.sampler), 0.0, time.perf_counter()
    for number, (views, labels) in enumerate(training.loader):
        loss, *_ = training_step(training, (views.to(device), labels), step, clip=1.0, scaler=scaler)
        loss.item()  # waits for the device
        now = time.perf_counter()
        if number >= WARM or batches <= WARM:
            seconds += now - started
        started = now
        if number + 1 == WARM + TIMED:
            break
    timed = min(batches, WARM + TIMED) - (WARM if batches > WARM else 0)
    started = time.perf_counter()
    training.objective.end_of_epoch(training.model)
    return seconds / timed * batches * share + time.perf_counter() - started


def _prediction(encoder: nn.Module, experiment: Experiment, device: torch.device) -> float:
    """Return the seconds to predict a fold's held-out and test rows in all views, and to make its class means."""
    settings = experiment.settings
    views = prediction_views(settings.augment, settings.predict.views)
    tested = experiment.test_positions
    positions = (tested if len(tested) else experiment.split.scored_rows)[: settings.predict.batch_size * 2]
    dataset = FoldData(experiment, 0, device).fixed_views(positions, settings.predict.views)
    loader = fixed_loader(dataset, settings.predict.batch_size, worker_count(settings.machine.workers))
    started = time.perf_counter()
    evaluate(encoder, loader, device, settings.train.precision, "timing")
    forward = (time.perf_counter() - started) / len(positions) / len(views)
    rows = len(experiment.split.rows_of(0)) + len(experiment.test_positions)
    plain = len(experiment.training_rows_of(0)) if settings.predict.class_means else 0
    return forward * (rows * len(views) + plain)
