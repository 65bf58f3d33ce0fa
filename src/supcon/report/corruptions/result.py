"""Scores on damaged images: runs/NAME/corruptions.json, from each fold's corruptions.npz."""

from dataclasses import asdict, dataclass

import numpy as np

from supcon.errors import UserError
from supcon.metrics.metric import make_metric
from supcon.report.corruptions.kinds import DEFINITION, NAMES
from supcon.run.done import intact
from supcon.run.experiment import Experiment
from supcon.run.stage import StageRun
from supcon.run.stages import PIXELS, Stage
from supcon.storage.files import digest, read_checked_json, read_npz, write_checked_json

FILE = "corruptions.json"
FOLD_FILE = "corruptions.npz"  # ids [n]; predicted [n, STATES], class numbers
CORRUPTIONS = Stage(  # a stage of the report alone
    "corruptions",
    "report",
    files=(FOLD_FILE,),
    settings=("data.image_size", "data.test_size", "data.fit", "predict.class_mean_weight"),
    settings_where=PIXELS,
)
_MADE_AGAIN = "delete it, and ./run.sh report --corruptions makes it again"
_NOTHING = 1e-6  # of macro-F1: a loss that is but rounding


@dataclass(frozen=True)
class CorruptionScores:
    """Macro-F1 of a sample of held-out rows by their own folds' models, one view, nothing tuned."""

    rows: int
    rows_a_fold: int  # the limit
    clean: float
    scores: dict[str, list[float]]  # corruption to its severities, mildest first
    fingerprint: str  # of the models and corruptions

    @property
    def curves(self) -> dict[str, dict[int, float]]:
        """Each corruption's scores by severity, 0 for the undamaged rows."""
        return {name: dict(enumerate([self.clean, *damaged])) for name, damaged in self.scores.items()}

    @property
    def corruption_f1(self) -> float:
        """Mean over corruptions and severities."""
        return float(np.mean(list(self.scores.values())))

    @property
    def lost(self) -> dict[str, float]:
        """The loss of macro-F1 by each corruption, mean over severities."""
        return {name: self.clean - float(np.mean(scores)) for name, scores in self.scores.items()}

    @property
    def mean_lost(self) -> float:
        """The loss of macro-F1, mean over corruptions."""
        return self.clean - self.corruption_f1

    def relative(self, baseline: "CorruptionScores") -> float:
        """Return the mean loss over a baseline's: below 1 is more robust, nan where the baseline loses nothing."""
        return self.mean_lost / baseline.mean_lost if baseline.mean_lost > _NOTHING else float("nan")


def corruption_stage(experiment: Experiment, fold: int, limit: int) -> StageRun:
    """Return the stage that predicts at most `limit` damaged rows of a fold."""
    maker = "soup" if experiment.settings.average.runs else "finetune"
    inputs = {
        maker: experiment.stage(maker, fold).require(),
        "images": experiment.images_digest,
        "the corruptions": DEFINITION,
        "--rows": str(limit),
    }
    return StageRun(CORRUPTIONS, experiment.request, fold, inputs)


def write_scores(experiment: Experiment, limit: int) -> CorruptionScores:
    """Pool the folds' predictions into corruptions.json."""
    folds = experiment.folds
    parts = [read_npz(intact(corruption_stage(experiment, fold, limit).folder / FOLD_FILE)) for fold in folds]
    label_of = dict(zip(experiment.split.ids, experiment.split.labels.tolist(), strict=True))
    true = np.array([label_of[name] for part in parts for name in part["ids"]])
    predicted = np.concatenate([part["predicted"] for part in parts])
    metric = make_metric("macro_f1", len(experiment.split.classes), np.unique(true))
    clean, *damaged = (metric.score(true, column) for column in predicted.T)
    scores = dict(zip(NAMES, np.reshape(damaged, (len(NAMES), -1)).tolist(), strict=True))
    result = CorruptionScores(len(true), limit, clean, scores, _fingerprint(experiment, limit))
    write_checked_json(experiment.request.run_folder / FILE, {"corruption_f1": result.corruption_f1, **asdict(result)})
    return result


def read_scores(experiment: Experiment) -> CorruptionScores | None:
    """Return a run's corruptions.json; None where there is none, or the models have changed since."""
    path = experiment.request.run_folder / FILE
    if not path.exists():
        return None
    content = read_checked_json(path, _MADE_AGAIN)
    names = CorruptionScores.__dataclass_fields__
    known = {name: content[name] for name in names if content.get(name) is not None}
    if len(known) < len(names):
        raise UserError(f"{path} is damaged: {_MADE_AGAIN}")
    scores = CorruptionScores(**known)
    return scores if scores.fingerprint == _fingerprint(experiment, scores.rows_a_fold) else None


def _fingerprint(experiment: Experiment, limit: int) -> str:
    return digest([corruption_stage(experiment, fold, limit).fingerprint for fold in experiment.folds])
