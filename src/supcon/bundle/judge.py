"""What models of another format or precision cost and gain: the cross-fitted score, labels, and images a second."""

import dataclasses
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from supcon.bundle.formats import Model, Target, Views, open_model
from supcon.bundle.infer import log_odds, outputs_of, require_finite
from supcon.bundle.manifest import Bundle
from supcon.bundle.on_torch import Model as TorchModel
from supcon.errors import UserError
from supcon.metrics.top_k import Matrix, joined, scattered
from supcon.run.experiment import Experiment
from supcon.run.runs import read_runs
from supcon.run.scores import cross_fitted
from supcon.training.data import FixedViews
from supcon.training.loader import fixed_loader, worker_count
from supcon.training.log import bar

_TOLERANCE = 1e-3  # share of the largest logit: rounding is far less, the error of a wrong export far more
_TIMED_VIEWS, _ROUNDS = 64, 5


def require_same(torch_bundle: Bundle, bundle: Bundle) -> None:
    """Raise `UserError` where a model in float32 gives other logits than torch's, on random images."""
    plain = dataclasses.replace(torch_bundle, precision="float32")
    noise = np.random.default_rng(0).integers(0, 256, (3, bundle.side, bundle.side, 3), np.uint8)
    for name in bundle.models:
        expected, found = TorchModel(plain, name, "cpu")(noise), open_model(bundle, name)(noise)
        error = float(np.abs(found - expected).max() / np.abs(expected).max())
        if not error <= _TOLERANCE:
            raise UserError(
                f"--format {bundle.format}: {bundle.settings.model.encoder} gives other logits there, by {error:.1%} of"
                f" the largest in {name}: use --format torch"
            )


def verdict(experiment: Experiment, decision: Mapping[str, Any], torch_bundle: Bundle, bundle: Bundle) -> list[str]:
    """Return lines on what a bundle makes of the held-out rows beside the run's own predictions, and on its speed.

    Each row is predicted by the model that never saw it (law 1) and decided by the rule fitted on the other folds
    (law 2), which `decision` holds, the bundle's decision.json. The standard error is that of the difference, by paired
    bootstrap.
    """
    own, target = Target("torch", torch_bundle.precision), Target(bundle.format, bundle.precision)
    metric, split, tune = experiment.metric, experiment.split, experiment.settings.tune
    members = dict(zip(decision["rule"]["weights"], held_out_logits(experiment, bundle), strict=True))
    runs, true = read_runs(experiment), split.labels[split.scored_rows]
    exported = [dataclasses.replace(run, out_of_fold=members.get(run.name, run.out_of_fold)) for run in runs]
    before, after = (cross_fitted(experiment, decision, each) for each in (runs, exported))
    draws = metric.bootstrap(true, [before, after], tune.bootstrap, tune.seed, split.scored_groups)
    score, error = metric.score(true, before), float(np.std(draws[1] - draws[0]))
    difference = metric.score(true, after) - score
    labels = [each.argmax(axis=1) if metric.of_probabilities else each for each in (before, after)]
    lines = [
        f"cross-fitted {metric.title} {score + difference:.4f} by {target}, {score:.4f} by {own}:"
        f" {difference:+z.4f} +- {error:.4f}; {(labels[0] != labels[1]).sum():,} of {len(true):,} labels differ",
        _speeds(experiment, torch_bundle, bundle),
    ]
    if metric.sign * difference < -error:
        lines.append(f"warning: {target} scores worse by more than a standard error: use another --precision")
    return lines


def held_out_logits(experiment: Experiment, bundle: Bundle) -> list[Matrix]:
    """Return the logits [rows, views, classes] of the scored rows by a bundle's models, of each of its members."""
    fold = experiment.split.fold[experiment.split.scored_rows]
    parts = [
        (fold == number, _logits_of_fold(experiment, bundle, number))
        for number in range(experiment.settings.data.folds)
    ]
    members = range(len(bundle.members))
    return [scattered(len(fold), [(rows, logits[member]) for rows, logits in parts]) for member in members]


def _logits_of_fold(experiment: Experiment, bundle: Bundle, fold: int) -> list[Matrix]:
    settings, rows, images = experiment.settings, experiment.split.rows_of(fold), experiment.open_prediction_images()
    readable, model, first = ~np.isin(rows, list(images.problems)), open_model(bundle, bundle.models[fold]), 0
    dataset = FixedViews(images, rows, bundle.views, bundle.side, settings.data.fit)
    loader = fixed_loader(dataset, settings.predict.batch_size, worker_count(settings.machine.workers))
    ids, batches = experiment.split.ids.iloc[rows].to_list(), []
    for views in bar(loader, f"{bundle.format} fold {fold}"):
        batch = slice(first, first := first + len(views))
        outputs = outputs_of(model, views.numpy())
        require_finite(outputs, ids[batch], bundle.folder / bundle.models[fold])
        batches.append(log_odds(bundle, fold, outputs, readable[batch]))
    return [joined(parts) for parts in zip(*batches, strict=True)]


def _speeds(experiment: Experiment, torch_bundle: Bundle, bundle: Bundle) -> str:
    """Return a line on the images a second of the first model, in turns with torch's, both on the CPU."""
    name, count = bundle.models[0], max(1, _TIMED_VIEWS // len(bundle.views))
    rows, images = experiment.split.rows_of(0)[:count], experiment.open_prediction_images()
    dataset = FixedViews(images, rows, bundle.views, bundle.side, experiment.settings.data.fit)
    views = dataset.__getitems__(range(len(rows))).flatten(0, 1).numpy()
    models: list[Model] = [TorchModel(torch_bundle, name, "cpu"), open_model(bundle, name)]
    seconds = [[_seconds(model, views) for model in models] for _ in range(_ROUNDS)]
    own, other = len(rows) / np.median(seconds, axis=0)
    return (
        f"{other:.1f} images/s by {bundle.format} {bundle.precision}, {own:.1f} by torch {torch_bundle.precision}"
        f" ({other / own:.1f} times), one model, {len(bundle.views)} views each, on this machine's CPU"
    )


def _seconds(model: Model, views: Views) -> float:
    model(views)  # threads of the other runtime come to rest
    started = time.perf_counter()
    model(views)
    return time.perf_counter() - started
