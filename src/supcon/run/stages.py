"""The table of stages: what each is called, reads, writes and depends on. A new stage is one record here and one page.

python -m supcon.run.stages         the order, as run.sh plays it: a line for each stage or group of stages
"""

import importlib.util
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from typing import Protocol, cast

from supcon.errors import UserError
from supcon.settings import REPOSITORY, Request, Settings
from supcon.settings.settings import DataSettings

# inputs that are no stages, as messages call them; the names of stages may stand beside them
SPLIT = "folds/folds.csv"  # which rows were held out
IMAGES, TRAINING_IMAGES, TEST_IMAGES = "images", "training images", "test images"
WEIGHTS, SAMPLE = "--model.weights", "sample_submission.csv"
FIRST_ROUND, RUNS = "first round", "runs"  # runs that another one starts from, or is decided by
AVERAGED = "averaged runs"  # whose weights another one averages
FULL_MODEL = "predict fold full"  # the ensemble's input that may be there or not

Where = tuple[Callable[[Settings], bool], tuple[str, ...]]  # settings that count where it holds


@dataclass(frozen=True)
class Stage:
    """One stage of the pipeline."""

    name: str  # as messages, files and fingerprints call it
    module: str  # its page below src/, where `run` does the work
    per_fold: bool = True
    files: tuple[str, ...] = ()  # what it writes, below its folder
    logs: tuple[str, ...] = ()  # what it leaves beside them
    settings: tuple[str, ...] = ()  # what its result depends on: sections, or single keys
    settings_where: tuple[Where, ...] = ()  # more of them
    inputs: tuple[str, ...] = ()
    curves: tuple[str, ...] = ()  # of a stage that has epochs: the columns of its log that a report draws
    plays: Callable[[Settings], bool] = lambda _: True  # whether a run with these settings has it at all


def _takes_features(settings: Settings) -> bool:
    """Say whether finetune makes features of the training rows in the way of prediction."""
    return settings.finetune.mode != "full" or settings.finetune.head == "fitted"


def _where_greedy(holds: Callable[[Settings], bool]) -> Callable[[Settings], bool]:
    """Return the condition that runs to average are chosen by their scores, and `holds`."""
    return lambda settings: settings.average.choice == "greedy" and holds(settings)


def _reads_otherwise(settings: Settings) -> bool:
    """Say whether the files' numbers become pixels in another way than by default."""
    return any(getattr(settings.data, name) != getattr(DataSettings(), name) for name in READING)


READING = ("pixel_range", "bands", "pixel_limit")  # settings of data, which only then count
PIXELS: tuple[Where, ...] = (  # how files become pixels, where that is otherwise than in earlier versions
    (_reads_otherwise, tuple(f"data.{name}" for name in READING)),
    (lambda settings: settings.data.store != "pixels", ("data.store",)),
    (lambda settings: settings.data.store == "jpeg", ("data.jpeg_quality",)),
)
_FROZEN: Where = (
    lambda settings: settings.model.frozen,
    ("model.frozen_views", "model.adapter_width", "data.test_size", "predict.views", "predict.batch_size"),
)
_POLICY: tuple[Where, ...] = (  # of the training views, where there is one
    (lambda settings: settings.augment.policy != "none", ("augment.policy",)),
    (lambda settings: settings.augment.policy == "randaugment", ("augment.num_ops", "augment.magnitude")),
    (lambda settings: settings.augment.policy == "augmix", ("augment.severity",)),
)
_TRAINING = ("data.image_size", "data.fit", "data.shots", "augment", "model", "train")
_NEIGHBOURS = ("predict.neighbours", "predict.neighbour_temperature")
_FINETUNE_BATCHES = ("finetune.mode", "finetune.batches", "finetune.batch_size")
_CROSS_ENTROPY = (  # of finetune, which the cross-entropy of pretrain follows
    *(f"finetune.{name}" for name in ("classifier", "label_smoothing", "logit_adjustment")),
    *_FINETUNE_BATCHES,
)
_SCORED: tuple[Where, ...] = (  # what the metric needs to know, where it does
    (lambda settings: bool(settings.data.positive_class), ("data.positive_class",)),
    (lambda settings: settings.tune.metric == "f_beta", ("tune.beta",)),
    (lambda settings: settings.tune.metric == "map_k", ("tune.k",)),
)
_MEMBERS: Where = (lambda settings: bool(settings.tune.members), ("tune.members",))
_COMPARED: tuple[Where, ...] = (((lambda _: True), ("augment", "predict", "tune.metric")), *_SCORED)  # where greedy
_TUNING = tuple(f"tune.{name}" for name in ("metric", "runs", "trials", "seconds", "shrinkage", "bootstrap", "seed"))

STAGES = (
    Stage("folds", "make_folds", per_fold=False),  # of a root, for all its runs
    Stage(
        "pseudo",
        "pseudo",
        files=("pseudo.csv",),
        settings=("pseudo",),
        inputs=(SPLIT, IMAGES, FIRST_ROUND),
        plays=lambda settings: bool(settings.pseudo.run) and not settings.average.runs,
    ),
    Stage(
        "pretrain",
        "pretrain",
        files=("encoder.safetensors",),
        logs=("pretrain.csv", "pretrain.trackers.json", "tensorboard/pretrain"),
        settings=(*_TRAINING, "batches", "pretrain"),
        settings_where=(
            *PIXELS,
            *_POLICY,
            _FROZEN,
            (lambda settings: settings.pretrain.contrasts, ("contrast",)),
            (lambda settings: settings.pretrain.classifies, _CROSS_ENTROPY),
            (lambda settings: settings.shares_schedule, ("finetune.epochs", *_FINETUNE_BATCHES)),
        ),
        inputs=(SPLIT, TRAINING_IMAGES, TEST_IMAGES, WEIGHTS, "pseudo"),
        curves=("loss", "cross_entropy", "contrastive", "knn_macro_f1", "held_out_macro_f1", "alignment", "uniformity"),
        plays=lambda settings: settings.pretrain.epochs > 0 and not settings.average.runs,
    ),
    Stage(
        "finetune",
        "finetune",
        files=("classifier.safetensors",),
        logs=("finetune.csv", "finetune.trackers.json", "tensorboard/finetune"),
        settings=(*_TRAINING, "finetune"),
        settings_where=(
            *PIXELS,
            *_POLICY,
            _FROZEN,
            (_takes_features, ("data.test_size", "predict.batch_size")),
            (lambda settings: settings.finetune.batches == "pk", ("batches",)),
            (lambda settings: settings.finetune.contrasts, ("contrast",)),
        ),
        inputs=(SPLIT, TRAINING_IMAGES, WEIGHTS, "pseudo", "pretrain"),
        curves=("loss", "cross_entropy", "contrastive", "held_out_macro_f1", "alignment", "uniformity"),
        plays=lambda settings: not settings.average.runs,
    ),
    Stage(
        "soup",  # in place of pretrain and finetune
        "soup",
        files=("classifier.safetensors",),
        logs=("soup.csv",),
        settings=(
            *("average", "data.image_size", "data.test_size", "data.fit", "predict.batch_size"),
            *("train.seed", "train.precision", "train.channels_last"),
        ),
        settings_where=(*PIXELS, *((_where_greedy(holds), keys) for holds, keys in _COMPARED)),
        inputs=(SPLIT, TRAINING_IMAGES, AVERAGED),
        plays=lambda settings: bool(settings.average.runs),
    ),
    Stage(
        "predict",
        "predict",
        files=("oof.npz", "test.npz", "embeddings.npz"),
        settings=("data.image_size", "data.test_size", "data.fit", "augment", "predict"),
        settings_where=(*PIXELS, (lambda settings: settings.predict.neighbours > 0, _NEIGHBOURS)),
        inputs=(SPLIT, IMAGES, "finetune", "soup"),
    ),
    Stage(
        "tune",
        "tune",
        per_fold=False,
        files=("decision.json", "cross_fitted.csv"),
        logs=("trials.csv", "optuna.journal"),
        settings=_TUNING,
        settings_where=(*_SCORED, _MEMBERS),
        inputs=(SPLIT, IMAGES, RUNS),
    ),
    Stage(
        "ensemble",
        "ensemble",
        per_fold=False,
        files=("scores.json",),
        logs=("ensemble.trackers.json", "tensorboard/ensemble"),
        settings=("tune.metric", "tune.bootstrap", "tune.seed"),
        settings_where=(*_SCORED, (lambda settings: settings.data.submit != "auto", ("data.submit",))),
        inputs=(SPLIT, IMAGES, RUNS, "tune", SAMPLE, FULL_MODEL),
    ),
)
STAGE = {stage.name: stage for stage in STAGES}


class Page(Protocol):
    """A stage's page: src/NAME.py."""

    def run(self, request: Request) -> None:
        """Do the stage's work for the run and the folds that `request` names."""


def page_of(name: str) -> Page:
    """Return the page of the stage `name`. Raises `UserError` as `load_page` does."""
    return load_page(STAGE[name].module)


@cache
def load_page(name: str) -> Page:
    """Return the page src/NAME.py of this repository, whatever modules of that name lie elsewhere.

    Raises `UserError` where the package is installed without the pages.
    """
    path = REPOSITORY / "src" / f"{name}.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if not path.exists() or spec is None or spec.loader is None:
        raise UserError(f"{path} is not there: stages are run from a clone of the repository")
    page = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(page)
    return cast(Page, page)


def fold_stages(settings: Settings, among: Sequence[Stage] = STAGES) -> list[Stage]:
    """Return the stages that a fold of a run with these settings has, or those `among` them, in order."""
    return [stage for stage in among if stage.per_fold and stage.plays(settings)]


def order() -> Iterator[str]:
    """Yield the pages as run.sh plays them: `once PAGE`, or `each_fold PAGE ...` for stages that folds go through."""
    for per_fold, stages in groupby(STAGES, key=lambda stage: stage.per_fold):
        pages = [stage.module for stage in stages]
        yield from [f"each_fold {' '.join(pages)}"] if per_fold else [f"once {page}" for page in pages]


if __name__ == "__main__":
    print("\n".join(order()))
