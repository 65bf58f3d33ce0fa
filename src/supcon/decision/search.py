"""Optuna's searches: those of cross-fitting in memory, the one over all rows in a storage that others can open.

Three parameters or more are searched by separable CMA-ES (Ros and Hansen 2008), which moves all of them in each step:
on simulated logits of 30 and 100 classes its thresholds gain 1.7 to 3.4 times as much on fresh rows as TPE's, in less
time (docs/LOG.md). One or two are searched by TPE (Bergstra et al. 2011).
"""

import multiprocessing
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote

import optuna
import pandas as pd
from optuna.exceptions import StorageInternalError
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import MaxTrialsCallback
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import SQLAlchemyError

from supcon.errors import UserError, limit
from supcon.settings.settings import TuneSettings
from supcon.storage.files import write_csv
from supcon.storage.processes import settle_worker, starting_processes

Parameters = dict[str, float]
Objective = Callable[[Parameters], float]
Space = Mapping[str, tuple[float, float]]  # lowest and highest value; only whole numbers where both ends are int

_STEP = 0.1  # CMA-ES's first step size, as a fraction of the range


@dataclass(frozen=True)
class SearchStorage:
    """Where the trials of a search are kept, so that they can be read afterwards."""

    url: str  # of SQLAlchemy, or the path of a journal file
    name: str  # of the Optuna study in it
    workers: int = 1  # processes that search together

    def for_rung(self, rung: str) -> "SearchStorage":
        """Return the storage of one rung's search: the same place, a study of its own."""
        return replace(self, name=f"{self.name} {rung}")


def search(
    objective: Objective, space: Space, first: Parameters, settings: TuneSettings, storage: SearchStorage | None = None
) -> Parameters:
    """Return the parameters of the largest value; `first` is the first trial, and ties go to the earliest.

    A search ends after `settings.trials` trials or `settings.seconds`. In memory, or with one worker, the same seed
    gives the same result. Raises `UserError` where the storage does not answer.
    """
    optuna.logging.set_verbosity(optuna.logging.ERROR)

    def open_study(seed: int) -> optuna.Study:
        study = optuna.create_study(
            storage=_open_storage(storage.url) if storage else None,
            sampler=_sampler(space, first, seed),
            direction="maximize",
            study_name=storage.name if storage else "search",
            load_if_exists=True,
        )
        study.enqueue_trial(first, skip_if_exists=True)
        return study

    def value(trial: optuna.Trial) -> float:
        return objective({name: _suggest(trial, name, *ends) for name, ends in space.items()})

    def work(worker: int) -> None:
        own = open_study(settings.seed + worker) if worker else study  # connections are not shared
        if len(_done(own)) < settings.trials:
            stop_after_trials = MaxTrialsCallback(settings.trials, states=(TrialState.COMPLETE,))
            own.optimize(value, settings.trials, settings.seconds or None, callbacks=[stop_after_trials])

    if storage is None:
        study = open_study(settings.seed)
        work(0)
    else:
        try:
            study = open_study(settings.seed)
        except Exception as error:  # each storage and driver has errors of its own
            raise _limit_of(storage.url, error) or _no_answer(storage.url, error) from None
        try:
            _work_together(work, storage.workers)
        except Exception as error:
            if full := _limit_of(storage.url, error):
                raise full from None
            if not isinstance(error, OSError | SQLAlchemyError | StorageInternalError):
                raise
            raise _no_answer(storage.url, error) from None
    best = max(_done(study), key=lambda trial: (trial.value, -trial.number))
    return {name: best.params[name] for name in space}


def write_trials(path: Path, storage: SearchStorage, rungs: Sequence[str]) -> None:
    """Write the trials of the rungs' searches as a CSV file, a row a trial."""
    write_csv(path, pd.DataFrame([row for rung in rungs for row in _trial_rows(storage.for_rung(rung))]))


def _trial_rows(storage: SearchStorage) -> list[dict[str, object]]:
    """Return a row for each trial: number, value, state, seconds, parameters; no rows where the rung had no search."""
    opened = _open_storage(storage.url)
    if storage.name not in {study.study_name for study in opened.get_all_studies()}:
        return []
    study = optuna.load_study(study_name=storage.name, storage=opened)
    return [
        {
            "study": storage.name,
            "number": trial.number,
            "value": trial.value,
            "state": trial.state.name,
            "seconds": trial.duration.total_seconds() if trial.duration else None,
            **trial.params,
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def _work_together(work: Callable[[int], None], workers: int) -> None:
    """Let `workers` processes do `work(number)`, this one as number 0."""
    fork = multiprocessing.get_context("fork")  # so that they share the objective's arrays without a copy
    others = [fork.Process(target=_work_apart, args=(work, number)) for number in range(1, workers)]
    with starting_processes():
        for process in others:
            process.start()
    try:
        work(0)
    except BaseException:
        for process in others:
            process.terminate()
        raise
    finally:
        for process in others:
            process.join()


def _work_apart(work: Callable[[int], None], number: int) -> None:
    settle_worker()
    work(number)


def _done(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))


def _suggest(trial: optuna.Trial, name: str, low: float, high: float) -> float:
    if isinstance(low, int) and isinstance(high, int):
        return trial.suggest_int(name, low, high)
    return trial.suggest_float(name, low, high)


def _sampler(space: Space, first: Parameters, seed: int) -> optuna.samplers.BaseSampler:
    if len(space) < 3:
        return optuna.samplers.TPESampler(seed=seed)
    step = _STEP * min(high - low for low, high in space.values())
    with warnings.catch_warnings(action="ignore"):  # that it is experimental
        return optuna.samplers.CmaEsSampler(
            x0=first, sigma0=step, seed=seed, use_separable_cma=True, warn_independent_sampling=False
        )


def _open_storage(url: str) -> BaseStorage:
    return RDBStorage(url) if "://" in url else JournalStorage(JournalFileBackend(url))


def _limit_of(url: str, error: Exception) -> UserError | None:
    """Return the line on a limit of the machine, such as a full disk, for which Optuna raises an assertion too."""
    found = limit(error)
    return UserError(f"{url}: {found}") if found and "://" not in url else found


def _no_answer(url: str, error: Exception) -> UserError:
    reason = " ".join(str(error).split())[:300] or type(error).__name__
    if "://" in url:
        password = url.rpartition("@")[0].partition("://")[2].partition(":")[2]
        for secret in filter(None, (password, unquote(password))):  # a driver may quote it alone
            reason = reason.replace(secret, "***")
    return UserError(f"--tune.storage {url} does not answer: {reason}; start it, or leave it out for a journal file")
