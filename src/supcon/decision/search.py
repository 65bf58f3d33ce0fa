"""Optuna's searches. Those of cross-fitting stay in memory; the one over all rows is kept where others can open it.

Three parameters and more are searched by separable CMA-ES (Ros and Hansen 2008), whose steps take every one at once: on
simulated logits of 30 and 100 classes its thresholds gain 1.7 to 3.4 times as much on fresh rows as TPE's, in less time
(docs/LOG.md). One or two are searched by TPE (Bergstra et al. 2011).
"""

import multiprocessing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import optuna
import pandas as pd
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import TrialState
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from supcon.errors import UserError
from supcon.settings.settings import TuneSettings
from supcon.storage.files import write_csv

Parameters = dict[str, float]
Objective = Callable[[Parameters], float]
Space = Mapping[str, tuple[float, float]]  # lowest and highest; of whole numbers where both are int

_STEP = 0.1  # CMA-ES's first steps, as a part of the range


@dataclass(frozen=True)
class Kept:
    """A study that outlives its search: where it is, and under which name."""

    storage: str  # an URL of SQLAlchemy's, or the path of a journal file
    name: str
    workers: int = 1  # processes that share it

    def named(self, rung: str) -> "Kept":
        """Return the study of one rung."""
        return replace(self, name=f"{self.name} {rung}")


def search(
    objective: Objective, space: Space, first: Parameters, settings: TuneSettings, kept: Kept | None = None
) -> Parameters:
    """Return the parameters of the largest value; `first` is the first trial, and ties go to the earliest.

    A search ends after `settings.trials` trials or `settings.seconds`. In memory, and with one worker, it finds
    the same for the same seed. Raises `UserError` where the storage of a kept study does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if kept is None:
        study = _open_study(None, "search", space, first, settings.seed)
        _work(study, objective, space, settings)
    else:
        try:
            study = _open_study(kept, kept.name, space, first, settings.seed)
        except Exception as error:  # each storage and driver has errors of its own
            raise _no_answer(kept.storage, error) from None
        try:
            _search_together(study, objective, space, first, settings, kept)
        except (OSError, SQLAlchemyError, StorageInternalError) as error:
            raise _no_answer(kept.storage, error) from None
    done = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    best = max(done, key=lambda trial: (trial.value, -trial.number))
    return {name: best.params[name] for name in space}


def write_trials(path: Path, kept: Kept, rungs: Sequence[str]) -> None:
    """Write the trials of the kept studies as a CSV file, a row a trial."""
    write_csv(path, pd.DataFrame([row for rung in rungs for row in _trial_rows(kept.named(rung))]))


def _trial_rows(kept: Kept) -> list[dict[str, Any]]:
    """Return one row a trial of a kept study: number, value, state, seconds, parameters; none if it was not needed."""
    storage = _open_storage(kept.storage)
    if kept.name not in {study.study_name for study in storage.get_all_studies()}:
        return []
    study = optuna.load_study(study_name=kept.name, storage=storage)
    return [
        {
            "study": kept.name,
            "number": trial.number,
            "value": trial.value,
            "state": trial.state.name,
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **trial.params,
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def _search_together(
    study: optuna.Study, objective: Objective, space: Space, first: Parameters, settings: TuneSettings, kept: Kept
) -> None:
    def work(worker: int) -> None:
        own = _open_study(kept, kept.name, space, first, settings.seed + worker)  # connections are not shared
        _work(own, objective, space, settings)

    # forked, so that they have the objective's arrays at once
    others = [
        multiprocessing.get_context("fork").Process(target=work, args=(number,)) for number in range(1, kept.workers)
    ]
    for process in others:
        process.start()
    try:
        _work(study, objective, space, settings)
    finally:
        for process in others:
            process.join()


def _work(study: optuna.Study, objective: Objective, space: Space, settings: TuneSettings) -> None:
    def value(trial: optuna.Trial) -> float:
        return objective({name: _suggest(trial, name, *ends) for name, ends in space.items()})

    enough = MaxTrialsCallback(settings.trials, states=(TrialState.COMPLETE,))
    done = len(study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)))
    if done < settings.trials:
        study.optimize(value, settings.trials, settings.seconds or None, callbacks=[enough])


def _suggest(trial: optuna.Trial, name: str, low: float, high: float) -> float:
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high)
    return trial.suggest_float(name, low, high)


def _open_study(kept: Kept | None, name: str, space: Space, first: Parameters, seed: int) -> optuna.Study:
    study = optuna.create_study(
        storage=_open_storage(kept.storage) if kept else None,
        sampler=_sampler(space, first, seed),
        direction="maximize",
        study_name=name,
        load_if_exists=True,
    )
    study.enqueue_trial(first, skip_if_exists=True)
    return study


def _sampler(space: Space, first: Parameters, seed: int) -> optuna.samplers.BaseSampler:
    if len(space) < 3:
        return optuna.samplers.TPESampler(seed=seed)
    step = _STEP * min(high - low for low, high in space.values())
    with warnings.catch_warnings(action="ignore"):  # its constructor's remark on being experimental
        return optuna.samplers.CmaEsSampler(
            x0=first, sigma0=step, seed=seed, use_separable_cma=True, warn_independent_sampling=False
        )


def _open_storage(storage: str) -> BaseStorage:
    if "://" in storage:
        return RDBStorage(storage)
    return JournalStorage(JournalFileBackend(storage))


def _no_answer(storage: str, error: Exception) -> UserError:
    shown = make_url(storage).render_as_string(hide_password=True) if "://" in storage else storage
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    return UserError(f"--tune.storage {shown} does not answer: {reason}; start it, or leave it out for a journal file")
