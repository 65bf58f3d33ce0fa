"""Whether the settings of a run fit the host's files; and the metric that scores what the host asks for."""

import math
from collections.abc import Sequence
from dataclasses import replace

from supcon.arrays import Labels
from supcon.competition.form import Form
from supcon.competition.read import Competition
from supcon.errors import UserError
from supcon.metrics.metric import Metric, MetricName, make_metric, of_probabilities
from supcon.settings import Request
from supcon.settings.settings import TuneSettings

OF_ONE_PROBABILITY: MetricName = "roc_auc"  # what is taken where the host asks for one and nobody names a metric


def fit_request(request: Request, competition: Competition) -> Request:
    """Return the request with a metric that can score the host's form: its own wherever that can.

    Labels can be had from a probability for each class, so every metric scores that form. Raises `UserError` where the
    metric that was named cannot, or where a setting needs test images and the host hides them.
    """
    if competition.hides_test and request.settings.pretrain.use_test and request.settings.pretrain.epochs > 0:
        raise UserError("--pretrain.use_test learns from test images, which the host hides here: set it to false")
    form, name, sample = competition.form, request.settings.tune.metric, competition.sample.path.name
    if name == "kappa" and (odd := [label for label in competition.classes if not _is_number(label)]):
        raise UserError(
            f"--tune.metric kappa needs classes called by numbers; {odd[0]!r} is no number: call the classes by numbers"
            " in the host's files, or choose another metric"
        )
    if name == "map_k" and form.takes_labels:
        asks_for_one = request.settings.data.submit == "label"
        cure = "leave out --data.submit label" if asks_for_one else "write as many into its cells as the host takes"
        raise UserError(
            f"--tune.metric map_k scores the order of the likeliest labels, but {sample} asks for one: {cure}, or"
            " choose a metric of labels"
        )
    if of_probabilities(name) and not form.of_probabilities and name != "map_k":
        asked = "labels" if form.labels == 1 else form
        raise UserError(
            f"--tune.metric {name} scores probabilities, but {sample} asks for {asked}:"
            " choose a metric of labels, or, where its column takes one class's probability, name that class with"
            " --data.positive_class"
        )
    if not form.positive:
        return request
    named = "tune.metric" in request.given or "tune.metric" in request.config_settings
    if named and not of_probabilities(name):
        raise UserError(
            f"--tune.metric {name} scores labels, but {sample} asks for {form}: choose roc_auc or log_loss, or"
            " --data.submit label"
        )
    if name == "map_k" or name == "log_loss" and len(competition.classes) > 2:
        raise UserError(
            f"--tune.metric {name} of {len(competition.classes)} classes is not that of {form}: choose roc_auc"
        )
    chosen = name if of_probabilities(name) else OF_ONE_PROBABILITY
    return replace(request, settings=replace(request.settings, tune=replace(request.settings.tune, metric=chosen)))


def metric_notes(request: Request, competition: Competition) -> list[str]:
    """Return what to say of the metric where the host asks for several labels a row: a line or none."""
    tune, labels, sample = request.settings.tune, competition.form.labels, competition.sample.path.name
    named = tune.k != TuneSettings().k or "tune.k" in request.given or "tune.k" in request.config_settings
    if labels == 1 or tune.metric == "map_k" and (tune.k == labels or not named):
        return []
    if tune.metric == "map_k":
        return [f"--tune.k {tune.k} does not count: {sample} asks for {labels} labels a row, and so many are scored"]
    return [f"{tune.metric} scores the first of the {labels} labels of a row: --tune.metric map_k scores their order"]


def metric_of(tune: TuneSettings, form: Form, classes: Sequence[str], scored: Labels) -> Metric:
    """Return the host's metric over `classes`, of which those numbered `scored` have rows to score."""
    k = form.labels if form.labels > 1 else tune.k
    values = [float(name) for name in classes] if tune.metric == "kappa" else []
    return make_metric(tune.metric, len(classes), scored, beta=tune.beta, k=k, values=values)


def _is_number(label: str) -> bool:
    try:
        return math.isfinite(float(label))
    except ValueError:
        return False
