"""Whether the settings of a run fit the host's files; and the metric that can score what the host asks for."""

from dataclasses import replace

from supcon.competition.read import Competition
from supcon.errors import UserError
from supcon.metrics.metric import MetricName, of_probabilities
from supcon.settings import Request

OF_ONE_PROBABILITY: MetricName = "roc_auc"  # what is taken where the host asks for one and nobody names a metric


def fit_request(request: Request, competition: Competition) -> Request:
    """Return the request with a metric that can score the host's form: its own wherever that can.

    Labels can be had from a probability for each class, so every metric scores that form. Raises `UserError` where the
    metric that was named cannot, or where a setting needs test images and the host hides them.
    """
    if competition.hides_test and request.settings.pretrain.use_test and request.settings.pretrain.epochs > 0:
        raise UserError("--pretrain.use_test learns from test images, which the host hides here: set it to false")
    form, name, sample = competition.form, request.settings.tune.metric, competition.sample.path.name
    if of_probabilities(name) and not form.of_probabilities:
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
    if name == "log_loss" and len(competition.classes) > 2:
        raise UserError(
            f"--tune.metric log_loss of {len(competition.classes)} classes is not that of {form}: choose roc_auc"
        )
    chosen = name if of_probabilities(name) else OF_ONE_PROBABILITY
    return replace(request, settings=replace(request.settings, tune=replace(request.settings.tune, metric=chosen)))
