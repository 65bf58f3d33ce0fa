"""Means of several runs' weights, and which runs to take: model soups (Wortsman et al. 2022, arXiv 2203.05482).

Law 1: what is averaged in fold k is chosen by scores on the rows that other folds hold out, each predicted by its own
fold's average of the same runs. Only the weights of fold k are then taken.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from supcon.decision.logits import plain_mean
from supcon.decision.merge import head_and_class_means
from supcon.errors import UserError
from supcon.run.done import intact, read_done
from supcon.run.earlier import trained
from supcon.run.experiment import Experiment
from supcon.run.predictions import HELD_OUT, FinishedRun, read_blended, write_predictions
from supcon.run.stage import StageRun, fingerprint
from supcon.run.stages import SPLIT, STAGE, TRAINING_IMAGES
from supcon.settings import FULL
from supcon.storage.files import digest, read_npz, remove_leftovers
from supcon.training.device import autocast, set_up_device
from supcon.training.fold import FoldData
from supcon.training.log import bar
from supcon.training.model.adapter import Adapter
from supcon.training.model.classifier import untrained_adapter, untrained_classifier
from supcon.training.model.encoder import Encoder
from supcon.training.model.heads import projection_head
from supcon.training.model.weights import average_weights, load_tensors
from supcon.training.predictor import Model, Predictor, without_extras

_MEASURED = 10_000  # training rows that the statistics of batch norm are measured on, at most


@dataclass(frozen=True)
class Trial:
    """A run that was tried, and the score of the average so far with it."""

    run: str
    alone: float
    average: float
    taken: bool


def greedy(names: Sequence[str], score: Callable[[Sequence[str]], float], sign: int) -> list[Trial]:
    """Try the runs, best first: each is taken where the average with it scores no less (algorithm 1 of the paper).

    `score` returns the score of the average of some of `names`, in their order; higher is better where `sign` is 1.
    """
    alone = {name: score([name]) for name in names}
    trials: list[Trial] = []
    taken, best = set[str](), -np.inf
    for name in sorted(names, key=lambda name: -sign * alone[name]):  # of equal runs the one named first
        average = score([other for other in names if other in taken or other == name])
        better = sign * average >= best
        if better:
            taken, best = taken | {name}, sign * average
        trials.append(Trial(name, alone[name], average, better))
    return trials


class Soup:
    """The runs of `average.runs`, averaged for one fold."""

    def __init__(self, experiment: Experiment, stage: StageRun, fold: int) -> None:
        self._experiment, self._stage, self._fold = experiment, stage, fold
        self._runs = {run.name: run for run in experiment.averaged}
        count = experiment.settings.data.folds
        # from the next fold on: folds that are worked on side by side then predict for one another
        self._others = [(fold + step) % count for step in range(1, count)] if fold != FULL else list(range(count))
        self._device = set_up_device(experiment.settings.machine)

    def choose(self) -> list[Trial]:
        """Choose runs by the rows that the other folds hold out; for FULL by the rows of all folds."""
        return greedy(list(self._runs), self._score, self._experiment.metric.sign)

    def model(self, names: Sequence[str]) -> Model:
        """Return the fold's average of the runs called `names`."""
        return self._model([self._runs[name] for name in names], self._data(self._fold))

    def _score(self, names: Sequence[str]) -> float:
        """Return the score of an average on the other folds' rows, nothing tuned."""
        split, metric = self._experiment.split, self._experiment.metric
        runs, rows = [self._runs[name] for name in names], np.isin(split.fold, self._others)
        files = [self._predictions(runs, fold) for fold in self._others]
        shares = head_and_class_means(self._experiment.settings.predict.class_mean_weight)
        logits = read_blended(files, split.ids[rows], split.classes, shares)
        return metric.score(split.labels[rows], metric.untuned(plain_mean(logits)))

    def _predictions(self, runs: Sequence[FinishedRun], fold: int) -> Path:
        """Return the file of what a fold's average predicts of the rows that the fold holds out.

        It is made where it is not whole, and kept: other folds ask for the same averages. A single run has its own.
        """
        if len(runs) == 1 and self._predicts_alike(runs[0], fold):
            return runs[0].fold_folder(fold) / "oof.npz"
        request, split = self._experiment.request, self._experiment.split
        settings = {k: v for k, v in self._stage.fingerprint.items() if not k.startswith(("average.", "input "))}
        inputs = [self._stage.inputs[name] for name in (SPLIT, TRAINING_IMAGES)]
        weights = [trained(run, fold, request.root)["hash"] for run in runs]
        path = request.root / "cache" / "averages" / f"{digest([settings, inputs, weights, fold])}.npz"
        if not _is_whole(path):
            remove_leftovers(path.parent)
            experiment, data = without_extras(self._experiment), self._data(fold)
            predictor = Predictor(experiment, data, self._model(runs, data))
            rows, label = split.rows_of(fold), f"{self._stage.label} {' + '.join(run.name for run in runs)} fold {fold}"
            predicted = predictor.predict(HELD_OUT, split.ids.iloc[rows], rows, label)
            write_predictions(path, split.ids.iloc[rows], predicted, split.classes, list(predictor.views))
        return path

    def _predicts_alike(self, run: FinishedRun, fold: int) -> bool:
        """Say whether a run has predicted as this one does."""
        then = read_done(run.fold_folder(fold) / "predict.done.json")["fingerprint"]
        now = fingerprint(STAGE["predict"], self._experiment.request, {})
        return all(then.get(key) == value for key, value in now.items())

    def _data(self, fold: int) -> FoldData:
        return FoldData(self._experiment, fold, self._device)

    def _model(self, runs: Sequence[FinishedRun], data: FoldData) -> Model:
        folders = [run.fold_folder(data.fold) for run in runs]
        paths = [intact(folder / "classifier.safetensors") for folder in folders]
        return averaged_model(self._experiment, data, paths)


def _is_whole(path: Path) -> bool:
    try:
        return bool(read_npz(path))
    except UserError:
        return False


def averaged_model(experiment: Experiment, data: FoldData, paths: Sequence[Path]) -> Model:
    """Return the model whose weights are the means of those in the files `paths`: of one file, that model itself.

    It has a projection head where all of them have one. Raises `UserError` as `average_weights` does.
    """
    settings, classes = experiment.settings, len(experiment.split.classes)
    tensors = average_weights(paths, needed=("encoder", "classifier"))
    encoder: Encoder | Adapter
    if data.features:
        encoder, classifier = untrained_adapter(settings, classes, data.features.width)
    else:
        encoder, classifier = untrained_classifier(settings, classes)
    parts = {"encoder": encoder, "classifier": classifier}
    if any(name.startswith("projection.") for name in tensors):
        parts["projection"] = projection_head(encoder.width, settings.contrast)
    load_tensors(tensors, **parts)
    model = Model(encoder, classifier, parts.get("projection"))
    measured = nn.Sequential(encoder, *([model.projection] if model.projection else [])).to(data.device)
    if len(paths) > 1 and running_norms(measured):
        batches = bar(data.measuring_loader(_MEASURED), f"batch norm fold {data.fold}")
        measure_batch_norm(measured, batches, data.device, settings.train.precision)
    return model


@torch.no_grad()
def measure_batch_norm(model: nn.Module, batches: Iterable[Tensor], device: torch.device, precision: str) -> None:
    """Set the running mean and variance of every batch norm in `model` to the means of those of `batches`.

    The means of several networks' statistics are those of no network. The batches are uint8 views [B, V, side, side, 3]
    of one size. Nothing is drawn: dropout and stochastic depth are off. Izmailov et al. 2018 (arXiv 1803.05407),
    section 3.2.
    """
    norms = running_norms(model)
    momenta = [norm.momentum for norm in norms]
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # which asks torch for the mean over all batches
        norm.train()
    with autocast(device, precision):
        for views in batches:
            model(views.flatten(0, 1).to(device, non_blocking=True))
    model.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def running_norms(model: nn.Module) -> list[_BatchNorm]:
    """Return the batch norms of `model` that keep running statistics."""
    return [module for module in model.modules() if isinstance(module, _BatchNorm) and module.running_mean is not None]
