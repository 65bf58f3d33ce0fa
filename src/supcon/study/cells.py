"""The cells of a study: is one finished, did it fail, and what did it score."""

import dataclasses
from dataclasses import dataclass, field, replace
from pathlib import Path

from supcon.arrays import FloatArray, Labels
from supcon.decision.logits import plain_mean
from supcon.metrics.metric import Metric, Prediction
from supcon.metrics.of_probabilities import LogLoss, row_losses
from supcon.run.done import read_done, read_epochs
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.runs import read_out_of_fold
from supcon.run.stage import StageRun
from supcon.run.stages import fold_stages, page_of
from supcon.settings import Request
from supcon.storage.files import digest, read_json, write_json
from supcon.study.runs import Cell

FAILURE = "study-failed.json"  # in the fold's folder: why the cell has no score, and with which settings


@dataclass(frozen=True)
class Scores:
    """What one cell's held-out rows say by the merged views, nothing tuned."""

    true: Labels  # class numbers, [rows]
    predicted: Prediction  # what the metric scores, nothing tuned; of the log loss, which has its own, class numbers
    log_loss: FloatArray  # in nats, [rows]
    metric: Metric  # the host's
    passes: float  # images that training looked at
    seconds: float  # of training and prediction

    @property
    def score(self) -> float:
        """The host's metric of the cell's rows."""
        return self.nll if isinstance(self.metric, LogLoss) else self.metric.score(self.true, self.predicted)

    @property
    def nll(self) -> float:
        """Mean log loss of the cell's rows, nats."""
        return float(self.log_loss.mean())

    def __str__(self) -> str:
        nll = "" if self.metric.name == "log_loss" else f", NLL {self.nll:.4f}"
        return f"{self.metric.title} {self.score:z.4f}{nll}"


@dataclass
class Results:
    """What is known so far."""

    scores: dict[Cell, Scores] = field(default_factory=dict)
    failures: dict[Cell, str] = field(default_factory=dict)  # the reason, one line

    def __contains__(self, cell: Cell) -> bool:
        return cell in self.scores or cell in self.failures


def run_cell(request: Request, fold: int, force: bool) -> Scores:
    """Train, predict and score a cell; with `force` redo the stages that other settings or inputs made."""
    experiment = load_experiment(request)
    for record in fold_stages(experiment.settings):
        again = force and bool(experiment.stage(record.name, fold).changed())
        page_of(record.name).run(replace(request, folds=[fold], force=again))
    return read_scores(experiment, fold)


def run_tune(request: Request) -> None:
    """Make the decision of a run whose folds are done."""
    page_of("tune").run(request)


def read_scores(experiment: Experiment, fold: int) -> Scores:
    """Score a finished cell by its oof.npz."""
    rows = experiment.split.rows_of(fold)
    log_probabilities = plain_mean(read_out_of_fold(experiment, [fold]))
    true = experiment.split.labels[rows]
    passes = seconds = 0.0
    for record in fold_stages(experiment.settings):
        stage = experiment.stage(record.name, fold)
        looked_at, trained = _epochs(stage) if stage.stage.curves else (0.0, 0.0)
        passes += looked_at
        # done.json counts from the last resumption, the CSV all epochs but nothing beside them
        seconds += max(float(read_done(stage.done_file)["seconds"]), trained)
    losses, metric = row_losses(true, log_probabilities), experiment.metric
    predicted = log_probabilities.argmax(axis=1) if isinstance(metric, LogLoss) else metric.untuned(log_probabilities)
    return Scores(true, predicted, losses, metric, passes, seconds)


def read_failure(experiment: Experiment, fold: int) -> str:
    """Return why a cell failed with these settings; empty when it did not."""
    path = failure_file(experiment, fold)
    if not path.exists():
        return ""
    content = read_json(path)
    return str(content.get("reason", "")) if content.get("settings") == _settings_digest(experiment) else ""


def write_failure(experiment: Experiment, fold: int, reason: str) -> None:
    """Keep why a cell failed, so that the study, started again, does not fail it again."""
    write_json(failure_file(experiment, fold), {"reason": reason, "settings": _settings_digest(experiment)})


def failure_file(experiment: Experiment, fold: int) -> Path:
    """Return where a cell's failure is kept; without it the cell is tried again."""
    return experiment.request.run_folder / f"fold{fold}" / FAILURE


def _settings_digest(experiment: Experiment) -> str:
    settings = dataclasses.asdict(experiment.settings)
    del settings["machine"], settings["track"]
    return digest(settings)


def _epochs(stage: StageRun) -> tuple[float, float]:
    """Return the image passes and the seconds of a training stage's epochs."""
    table = read_epochs(stage.folder / f"{stage.name}.csv", ["passes", "seconds"])
    return float(table["passes"].sum()), float(table["seconds"].sum())
