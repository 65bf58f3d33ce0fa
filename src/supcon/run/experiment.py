"""One run's world without torch: the competition, its split, its images, and the state of its stages."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from supcon.arrays import Rows
from supcon.competition.fetch import require_weights
from supcon.competition.fit import fit_request, metric_of
from supcon.competition.folds import LEFT_OUT, read_folds
from supcon.competition.read import Competition, read_competition
from supcon.errors import UserError
from supcon.images.cache import ImageCache, open_cache, require_readable
from supcon.images.choose import chosen_store
from supcon.images.hashes import content_hashes, images_digest
from supcon.images.reading import Reading
from supcon.images.store import store_of
from supcon.images.value_range import reading_of
from supcon.metrics.metric import Metric
from supcon.randomness import seed_at
from supcon.run import stages
from supcon.run.done import intact
from supcon.run.earlier import averaged_inputs, find_averaged, find_first_round, first_round_inputs
from supcon.run.predictions import FinishedRun, find_run
from supcon.run.split import Split
from supcon.run.stage import StageRun
from supcon.run.stages import STAGE, STAGES, Stage, fold_stages
from supcon.settings import FULL, Request, Settings
from supcon.storage.files import digest, digest_rows, sha256_file
from supcon.storage.tables import read_table


@dataclass(frozen=True)
class Experiment:
    """What every stage after the split starts from."""

    request: Request
    competition: Competition
    split: Split

    @property
    def settings(self) -> Settings:
        """The run's settings."""
        return self.request.settings

    @property
    def folds(self) -> list[int]:
        """The folds to work on; FULL among them only where it was asked for."""
        count = self.settings.data.folds
        beyond = [fold for fold in self.request.folds if fold >= count]
        if beyond:
            raise UserError(f"--fold {beyond[0]}: the folds are 0 to {count - 1}, and full")
        return self.request.folds or list(range(count))

    def task(self, fold: int, epochs: int) -> str:
        """Return what a training stage of a fold has before it, as it says when it begins: torch takes seconds."""
        settings, pseudo = self.settings, STAGE["pseudo"]
        rows = f"{len(self.training_rows_of(fold)):,} training rows"
        if settings.data.shots:
            everything = len(self.split.training_rows_of(fold))
            rows += f" (of {everything:,}: data.shots keeps {settings.data.shots:,} a class at most)"
        if pseudo.plays(settings):
            table = read_table(intact(self.request.fold_folder(fold) / pseudo.files[0]), may_be_empty=True)
            rows += f" and {len(table):,} with a pseudo-label"
        return (
            f"{rows} of {len(self.split.classes):,} classes,"
            f" {epochs} epoch{'s' * (epochs != 1)} of {settings.model.encoder} at {settings.data.image_size} pixels"
        )

    def training_rows_of(self, fold: int) -> Rows:
        """Return the row numbers, with their own labels, that a fold's models are trained on; few with `data.shots`."""
        settings = self.settings
        return self.split.few_rows_of(fold, settings.data.shots, seed_at(settings.train.seed, "shots", fold))

    @cached_property
    def metric(self) -> Metric:
        """The host's metric over the classes that have rows to score."""
        scored, positive = np.unique(self.split.labels[self.split.scored_rows]), self.competition.form.positive
        if positive in self.split.classes:  # the host asks for the probability of this one
            scored = np.array([self.split.classes.index(positive)])
        return metric_of(self.settings.tune, self.competition.form, self.split.classes, scored)

    @property
    def test_positions(self) -> Rows:
        """Positions of the test rows in the image cache; those of the training rows are their row numbers."""
        return np.arange(len(self.split), len(self.split) + len(self.competition.test))

    def readable_test_positions(self, images: ImageCache) -> Rows:
        """Return `test_positions` without those of unreadable images."""
        return np.setdiff1d(self.test_positions, list(images.problems))

    @cached_property
    def images_digest(self) -> str:
        """One hash of every image."""
        return images_digest(self.competition.paths, self.hashes)

    @cached_property
    def _training_digest(self) -> str:
        return images_digest(self.competition.paths[: len(self.split)], self.hashes[: len(self.split)])

    @cached_property
    def _test_digest(self) -> str:
        return digest_rows(self.hashes[len(self.split) :])  # in their order, by which views and batches are drawn

    @property
    def hashes(self) -> list[str]:  # not kept: of millions of images they are half a gigabyte
        """Hashes of the images by position."""
        return content_hashes(self.request.root / "cache", self.competition.files)

    @cached_property
    def weights_digest(self) -> str:
        """Hash of the file that the encoder starts from. Raises `UserError` where there is none."""
        return sha256_file(require_weights(self.request))

    def open_training_images(self) -> ImageCache:
        """Open (at first: decode) the images for training: training rows first, then test rows."""
        return self._open_images(self.settings.data.image_size)

    def open_prediction_images(self) -> ImageCache:
        """Open the same images at the size of prediction."""
        return self._open_images(self.prediction_side)

    @cached_property
    def reading(self) -> Reading:
        """How the numbers in the images' files become pixels."""
        cache, files = self.request.root / "cache", self.competition.files
        return reading_of(self.settings.data, cache, files, self.hashes, len(self.split))

    @property
    def prediction_side(self) -> int:
        """Side of the images at prediction, pixels."""
        data = self.settings.data
        return data.test_size or data.image_size

    def _open_images(self, side: int) -> ImageCache:
        cache, files, data = self.request.root / "cache", self.competition.files, self.settings.data
        images = open_cache(cache, files, self.hashes, side, data.fit, self.reading, store_of(data))
        left_out = set(np.flatnonzero(self.split.fold == LEFT_OUT).tolist())
        if data.bad_images == "error":
            require_readable(images, files, left_out)
        later = [position for position in images.problems if position < len(self.split) and position not in left_out]
        if later:
            raise UserError(
                f"{files[later[0]]} cannot be read ({images.problems[later[0]]}), but had a fold: empty its fold in"
                " folds/folds.csv to leave it out, or delete folds.csv to split anew"
            )
        return images

    def stage(self, name: str, fold: int | None = None) -> StageRun:
        """Return a stage of this run with its inputs; `UserError` when a stage before it is not done."""
        stage, inputs = STAGE[name], dict[str, str]()
        for source in stage.inputs:
            inputs |= self._input(source, fold)
        return StageRun(stage, self.request, fold, inputs)

    def _input(self, name: str, fold: int | None) -> dict[str, str]:
        """Return an input of a stage by the names of its parts, with their hashes; nothing where this run lacks it."""
        settings = self.settings
        match name:
            case stages.SPLIT:
                return {name: self.split.digest}
            case stages.IMAGES:
                return {name: self.images_digest}
            case stages.TRAINING_IMAGES:
                return {name: self._training_digest}
            case stages.TEST_IMAGES:
                return {name: self._test_digest} if settings.pretrain.use_test else {}
            case stages.WEIGHTS:
                return self._weights_input(fold) if settings.model.weights else {}
            case stages.FIRST_ROUND:
                return first_round_inputs(self.first_round, self.request, fold)
            case stages.AVERAGED:
                return averaged_inputs(self.averaged, self.request, fold)
            case stages.RUNS:
                return {part: hashed for run in self.runs for part, hashed in run.inputs.items()}
            case stages.SAMPLE:
                return {name: sha256_file(self.competition.sample.path)}
            case stages.FULL_MODEL:
                return {name: self.full_model} if self.full_model else {}
        before = STAGE[name]  # a stage before
        return {name: self.stage(name, fold if before.per_fold else None).require()} if before.plays(settings) else {}

    def _weights_input(self, fold: int | None) -> dict[str, str]:
        """Return the hash of the weights file. Raises `UserError` for an encoder that learned the fold's held-out rows.

        Every run of a root stands on one split, so what a run learned is told by the folder of its file (law 1).
        """
        weights, runs = Path(self.settings.model.weights), (self.request.root / "runs").resolve()
        own = fold is None or fold == FULL or weights.parent.name == self.request.fold_folder(fold).name
        if not own and weights.is_relative_to(runs):
            raise UserError(
                f"--model.weights {weights}: this encoder learned the labels that fold {fold} is scored on: give fold"
                f" {fold}'s with --fold {fold}, or one of another competition, which has another --root"
            )
        return {stages.WEIGHTS: self.weights_digest}

    def finished(self, fold: int, among: Sequence[Stage] = STAGES) -> bool:
        """Say whether a fold has gone through its stages, or those `among` them; weights may have been deleted since.

        Raises `UserError` when other settings or inputs made what is there, or a stage before is not done.
        """
        done = True
        for record in fold_stages(self.settings, among):
            stage = self.stage(record.name, fold)
            done = stage.done()
            if not stage.done_file.exists():
                return False
        return done

    def work(self, name: str) -> Iterator[tuple[int, StageRun]]:
        """Yield the folds of a stage, with their state, that have work to do; one that another is at is waited for."""
        for fold in self.folds:
            stage = self.stage(name, fold)
            if stage.ready():
                yield fold, stage

    @cached_property
    def first_round(self) -> FinishedRun:
        """The run that `pseudo.run` names. Raises `UserError` where it has no labels to give."""
        return find_first_round(self.request, self.split.digest)

    @cached_property
    def averaged(self) -> list[FinishedRun]:
        """The runs whose weights this one averages; none where it is trained.

        Raises `UserError` where one is unknown, unfinished, of another split, or does not fit the others.
        """
        return find_averaged(self.request, self.split.digest)

    @cached_property
    def runs(self) -> list[FinishedRun]:
        """The runs that the decision is made from: this one, after its first round where there is one, or a blend's.

        Raises `UserError` where one is unknown, unfinished or of another split.
        """
        root, settings = self.request.root, self.settings
        others = settings.tune.runs or [settings.pseudo.run] * bool(settings.pseudo.run)
        earlier = [find_run(root, name, settings.data.folds, self.split.digest) for name in others]
        return earlier if settings.tune.runs else [*earlier, self.own_run]

    @cached_property
    def own_run(self) -> FinishedRun:
        """What this run's own models predict. Raises `UserError` while a fold is missing."""
        folds = range(self.settings.data.folds)
        hashes = {f"predict fold {fold}": self.stage("predict", fold).require() for fold in folds}
        folders = tuple(self.request.fold_folder(fold) for fold in folds)
        weight = self.settings.predict.class_mean_weight
        return FinishedRun(self.request.run, self.request.run_folder, hashes, folders, weight, self.own_full_model)

    @property
    def full_model(self) -> str:
        """Hash of what the models of `--fold full` predict, which the ensemble takes where they are; empty if none."""
        hashes = [run.full for run in self.runs]
        return digest(hashes) if any(hashes) else ""

    @cached_property
    def own_full_model(self) -> str:
        """Hash of what this run's model on all rows predicts; empty without one, and, which is said, if outdated."""
        if not (self.request.fold_folder(FULL) / "predict.done.json").exists():
            return ""
        try:
            return self.stage("predict", FULL).require()
        except UserError as error:  # no stage needs it
            print(f"the full model is left out: {error}", flush=True)
            return ""


def load_experiment(request: Request) -> Experiment:
    """Read the host's files and the split. Raises `UserError` where they do not fit."""
    if request.settings.time_budget and not (request.run_folder / "resolved.yaml").exists():
        raise UserError(
            f"--time_budget {request.settings.time_budget} has no epochs yet: `./run.sh doctor` with the same flags"
            " chooses them first (./run.sh all does)"
        )
    competition = read_competition(request.root / "input", request.root / "cache", request.settings.data)
    folds, maker = request.root / "folds" / "folds.csv", request.command("make_folds")
    split = Split(read_folds(folds, competition.train, request.settings.data, maker))
    return with_store(Experiment(fit_request(request, competition), competition, split))


def with_store(experiment: Experiment) -> Experiment:
    """Return the experiment with its store chosen, where that is `auto`; the first stage to begin keeps the choice."""
    request, competition = experiment.request, experiment.competition
    if request.settings.data.store != "auto":
        return experiment
    cache, hashes = request.root / "cache", experiment.hashes
    data = chosen_store(request.settings.data, cache, competition.files, hashes, experiment.reading)
    return replace(experiment, request=replace(request, settings=replace(request.settings, data=data)))
