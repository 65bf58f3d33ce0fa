"""A class for each tracking library, which is imported when its class is used.

Defaults stand in the environment, where a user's own win: each library reads them there, and ignores what its version
does not know.
"""

import io
import os
import secrets
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from itertools import islice
from pathlib import Path
from typing import Any

from supcon.storage import lock
from supcon.tracking.tracker import Kept, Subject, Tracker

_MLFLOW = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",  # by its own 7, a training would wait many minutes for a lost server
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
}
_PARAMS = 100  # that MLflow takes at once


class TensorBoard:
    """TensorBoard: event files in the stage's folder. It keeps no pages: it is told where they are."""

    def __init__(self, subject: Subject, kept: Kept) -> None:
        """Go on after the epochs that were told: what a killed process wrote after them is purged."""
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        from torch.utils.tensorboard import SummaryWriter

        folder = subject.folder / "tensorboard" / subject.stage
        self.id, self.place = subject.stage, str(folder)
        self._writer = SummaryWriter(self.place, purge_step=kept.epochs + 1)
        if not kept.id:
            lines = [f"| {key} | {value} |" for key, value in (subject.facts | subject.settings).items()]
            self._writer.add_text("settings", "\n".join(["| setting | value |", "|---|---|", *lines]))

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of an epoch, counted from 1."""
        for name, value in metrics.items():
            self._writer.add_scalar(name, value, number)
        self._writer.flush()

    def scores(self, scores: Mapping[str, float]) -> None:
        """Take the scores of a whole run."""
        self.epoch(0, scores)

    def page(self, path: Path) -> None:
        """Take where the report of a whole run is."""
        self._writer.add_text("report", str(path))

    def close(self, *, failed: bool) -> None:
        """Write what is still in memory."""
        self._writer.close()


class Wandb:
    """Weights & Biases: offline unless WANDB_MODE says otherwise."""

    def __init__(self, subject: Subject, kept: Kept) -> None:
        """Start a run, or go on with the one of the same id."""
        folder = subject.store / "wandb"
        folder.mkdir(parents=True, exist_ok=True)
        own = {
            "WANDB_MODE": "offline",
            "WANDB_PROJECT": subject.project,
            "WANDB_DIR": str(subject.store),
            "WANDB_DATA_DIR": str(folder),  # artifacts that are to be uploaded
            "WANDB_SILENT": "true",
            "WANDB_CONSOLE": "off",
            "WANDB_DISABLE_GIT": "true",  # done.json has the commit
            "WANDB_ERROR_REPORTING": "false",
            "WANDB_INIT_TIMEOUT": "30",
            "WANDB_FINISH_TIMEOUT": "60",  # without one, a stage would wait for a lost network for ever
            "WANDB__TRANSACTION_LOG_FLUSH_INTERVAL": "1",  # seconds of epochs that a kill costs: 15 by its own
        }
        os.environ.update(own | os.environ)
        import wandb

        self._wandb, self.id = wandb, kept.id or secrets.token_hex(4)
        self._run = wandb.init(
            id=self.id, resume="allow", reinit="create_new",
            name=subject.name, group=subject.request.run, job_type=subject.stage,
            config=subject.facts | subject.settings, allow_val_change=True,
        )  # fmt: skip
        self._report = f"report-{subject.request.run}"
        offline = self._run.offline
        self.place = f"offline in {Path(self._run.dir).parent}" if offline else str(self._run.url)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of an epoch, counted from 1."""
        self._run.log({"epoch": number, **metrics}, step=number, commit=True)

    def scores(self, scores: Mapping[str, float]) -> None:
        """Take the scores of a whole run."""
        self._run.summary.update(dict(scores))

    def page(self, path: Path) -> None:
        """Take the report of a whole run, a file of HTML."""
        artifact = self._wandb.Artifact(self._report, type="report")
        artifact.add_file(str(path))
        self._run.log_artifact(artifact)

    def close(self, *, failed: bool) -> None:
        """End the run."""
        try:
            self._run.finish(exit_code=int(failed))
        except Exception:  # its service has died, and the library would print a traceback in the end
            self._wandb.teardown()
            raise


class Mlflow:
    """MLflow: a database below the root unless MLFLOW_TRACKING_URI says otherwise."""

    def __init__(self, subject: Subject, kept: Kept) -> None:
        """Start a run, or go on with the one of the same id."""
        os.environ.update(_MLFLOW | os.environ)
        from mlflow import MlflowClient

        subject.store.mkdir(parents=True, exist_ok=True)
        local, there = f"sqlite:///{subject.store / 'mlflow.db'}", os.environ.get("MLFLOW_TRACKING_URI")
        self.place = there or local
        # of several processes that make a database at once all but one fail (MLflow 3.17)
        with lock.alone(subject.store / ".mlflow.lock", "MLflow's database"):
            self._client = MlflowClient(tracking_uri=self.place)
            self.id = self._known(kept.id) or self._begun(subject, None if there else subject.store / "mlflow")
        self._client.update_run(self.id, status="RUNNING")

    def _known(self, run: str) -> str:
        """Return the id of a run that goes on; empty where there is none, or another store is asked."""
        from mlflow.exceptions import MlflowException

        try:
            return run and str(self._client.get_run(run).info.run_id)
        except MlflowException:
            return ""

    def _begun(self, subject: Subject, artifacts: Path | None) -> str:
        """Start a run and return its id."""
        from mlflow.entities import Param

        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or subject.project
        experiment = self._client.get_experiment_by_name(name)
        number = (
            experiment.experiment_id
            if experiment
            else self._client.create_experiment(name, artifact_location=artifacts and artifacts.resolve().as_uri())
        )
        run = self._client.create_run(number, run_name=subject.name, tags=subject.facts).info.run_id
        params = iter([Param(key, str(value)) for key, value in subject.settings.items()])
        while part := list(islice(params, _PARAMS)):
            self._client.log_batch(run, params=part)
        return str(run)

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of an epoch, counted from 1."""
        from mlflow.entities import Metric

        now = round(time.time() * 1000)
        self._client.log_batch(self.id, [Metric(name, float(value), now, number) for name, value in metrics.items()])

    def scores(self, scores: Mapping[str, float]) -> None:
        """Take the scores of a whole run."""
        self.epoch(0, scores)

    def page(self, path: Path) -> None:
        """Take the report of a whole run, a file of HTML."""
        self._client.log_artifact(self.id, str(path))

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self._client.set_terminated(self.id, "FAILED" if failed else "FINISHED")


class Trackio:
    """Trackio: a database below the root unless TRACKIO_DIR says otherwise."""

    def __init__(self, subject: Subject, kept: Kept) -> None:
        """Start a run, or go on with the newest of its name."""
        os.environ.update({"TRACKIO_DIR": str(subject.store / "trackio")} | os.environ)
        import trackio
        from trackio.utils import TRACKIO_DIR  # as it was when the module was imported

        TRACKIO_DIR.mkdir(parents=True, exist_ok=True)  # the library would drop every epoch, and say so in its own way
        self._trackio = trackio
        with _quiet():
            self._run: Any = trackio.init(
                subject.project, subject.name, group=subject.request.run, config=subject.facts | subject.settings,
                resume="allow" if kept.id else "never", embed=False,
            )  # fmt: skip
        self.id, self.place = str(self._run.id), str(self._run.url or TRACKIO_DIR)
        self._report = f"report-{subject.request.run}"

    def epoch(self, number: int, metrics: Mapping[str, float]) -> None:
        """Take the numbers of an epoch, counted from 1."""
        self._run.log(dict(metrics), step=number)

    def scores(self, scores: Mapping[str, float]) -> None:
        """Take the scores of a whole run."""
        self.epoch(0, scores)

    def page(self, path: Path) -> None:
        """Take the report of a whole run, a file of HTML."""
        with _quiet():
            self._run.log_artifact(str(path), name=self._report, type="report")

    def close(self, *, failed: bool) -> None:
        """Write what is still in memory, and end the run."""
        with _quiet():
            self._trackio.finish()


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what a library prints, which our own line says shorter, to ourselves."""
    with redirect_stdout(io.StringIO()):
        yield


CLASSES: dict[str, Callable[[Subject, Kept], Tracker]] = {
    "tensorboard": TensorBoard, "wandb": Wandb, "mlflow": Mlflow, "trackio": Trackio,
}  # fmt: skip
