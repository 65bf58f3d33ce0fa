"""What a tracker was told, read back by its own library: `python -m tests.tracking.readers LIBRARY ROOT` prints JSON.

In a process of its own, because these libraries change what they are imported into. A run's name -> `Told`.
"""

import json
import os
import re
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from supcon.settings.settings import TRACKERS
from supcon.tracking.trackers import is_installed
from tests.conftest import REPOSITORY

INSTALLED = [name for name in TRACKERS if is_installed(name)]
LIBRARIES = [
    pytest.param(name, marks=pytest.mark.skipif(name not in INSTALLED, reason=f"{name} is not installed"))
    for name in TRACKERS
]


@dataclass
class Told:
    """What one tracker's run holds."""

    ids: list[str] = field(default_factory=list)  # of the processes that told it
    group: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    points: list[tuple[int, str, float]] = field(default_factory=list)  # epoch, name, number: as often as it is there
    scores: dict[str, float] = field(default_factory=dict)
    pages: list[str] = field(default_factory=list)


@cache
def told(library: str, root: Path) -> dict[str, Told]:
    """Return what a library holds of the runs of a root."""
    environment = {**os.environ, "TRACKIO_DIR": str(root / "tracking" / "trackio"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "tests.tracking.readers", library, str(root)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    runs = {name: Told(**content) for name, content in json.loads(result.stdout.splitlines()[-1]).items()}
    return {name: replace(run, points=[(*point,) for point in run.points]) for name, run in runs.items()}


def of_tensorboard(root: Path) -> dict[str, Told]:
    """Read event files."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    runs = {}
    for folder in sorted({path.parent for path in root.glob("runs/**/events.out.*")}):
        events = EventAccumulator(str(folder), size_guidance={"scalars": 0, "tensors": 0})
        events.Reload()
        tags = events.Tags()
        points = [(event.step, tag, event.value) for tag in tags["scalars"] for event in events.Scalars(tag)]
        texts = {
            tag.partition("/")[0]: event.tensor_proto.string_val[0].decode()
            for tag in tags["tensors"]
            for event in events.Tensors(tag)
        }
        run, *fold = folder.relative_to(root / "runs").parts[:-2]
        name = " ".join([run, folder.name, *(part.replace("fold", "fold ") for part in fold)])
        runs[name] = Told(
            [folder.name], run, dict(re.findall(r"^\| ([\w.]+) \| (.*) \|$", texts["settings"], re.M)),
            [point for point in points if point[0]], {tag: value for step, tag, value in points if not step},
            [Path(texts["report"]).read_text()] if "report" in texts else [],
        )  # fmt: skip
    return runs


def of_wandb(root: Path) -> dict[str, Told]:
    """Read the files that `wandb sync` uploads, in the order in which it does."""
    runs: dict[str, Told] = {}
    for path in sorted(root.glob("tracking/wandb/offline-run-*/run-*.wandb")):
        now = Told()
        for record in _records(path.read_bytes()):
            match record.WhichOneof("record_type"):
                case "run":
                    now = runs.setdefault(record.run.display_name, Told())
                    now.ids.append(record.run.run_id)
                    now.group = record.run.run_group
                    now.settings |= {item.key: str(json.loads(item.value_json)) for item in record.run.config.update}
                case "history":
                    row = {item.nested_key[0]: json.loads(item.value_json) for item in record.history.item}
                    names = (name for name in row if not name.startswith("_") and name != "epoch")
                    now.points += [(row["epoch"], name, row[name]) for name in names]
                case "summary":
                    own = (item for item in record.summary.update if item.key[:1] not in ("", "_"))
                    now.scores |= {item.key: json.loads(item.value_json) for item in own}
                case "artifact":
                    now.pages += [Path(file.local_path).read_text() for file in record.artifact.manifest.contents]
    return runs


def _records(content: bytes) -> Iterator[Any]:
    """Yield the records of a .wandb file, which is a log of LevelDB's after 7 bytes, in blocks of 32 KiB."""
    from wandb.proto.wandb_internal_pb2 import Record

    position, part = 7, b""
    while position + 7 <= len(content):
        left = 2**15 - position % 2**15
        _, length, kind = struct.unpack("<IHB", content[position : position + 7]) if left >= 7 else (0, 0, 0)
        if not kind:  # the rest of a block
            position += left
            continue
        part += content[position + 7 : position + 7 + length]
        position += 7 + length
        if kind in (1, 4):  # whole, or the last of several parts
            record = Record()
            record.ParseFromString(part)
            yield record
            part = b""


def of_mlflow(root: Path) -> dict[str, Told]:
    """Ask the database."""
    from mlflow import MlflowClient

    client, runs = MlflowClient(f"sqlite:///{root / 'tracking' / 'mlflow.db'}"), {}
    for run in client.search_runs([experiment.experiment_id for experiment in client.search_experiments()]):
        history = [metric for name in run.data.metrics for metric in client.get_metric_history(run.info.run_id, name)]
        with tempfile.TemporaryDirectory() as folder:
            names = [file.path for file in client.list_artifacts(run.info.run_id)]
            pages = [Path(client.download_artifacts(run.info.run_id, name, folder)).read_text() for name in names]
        runs[run.info.run_name] = Told(
            [run.info.run_id], run.data.tags["run"], run.data.params,
            [(metric.step, metric.key, metric.value) for metric in history if metric.step],
            {metric.key: metric.value for metric in history if not metric.step}, pages,
        )  # fmt: skip
    return runs


def of_trackio(root: Path) -> dict[str, Told]:
    """Ask the database."""
    import trackio
    from trackio.cas import blob_path
    from trackio.sqlite_storage import SQLiteStorage

    project, runs = re.sub(r"[^\w-]+", "-", root.name), {}
    for run in trackio.Api().runs(project):
        logs = SQLiteStorage.get_logs(project, run.name, run_id=run.id)
        config = {key: str(value) for key, value in (run.config or {}).items()}
        rows = [{key: value for key, value in row.items() if key != "timestamp"} for row in logs]
        points = [(row["step"], name, row[name]) for row in rows for name in row if name != "step"]
        record = SQLiteStorage.get_artifact_manifest(project, f"report-{config['run']}", None) or {"manifest": []}
        pages = [blob_path(project, entry["digest"]).read_text() for entry in record["manifest"]]
        runs[run.name] = Told(
            [run.id], config["_Group"], config, [point for point in points if point[0]],
            {name: value for step, name, value in points if not step}, pages if config["stage"] == "ensemble" else [],
        )  # fmt: skip
    return runs


if __name__ == "__main__":
    library, root = sys.argv[1], Path(sys.argv[2])
    print(json.dumps({name: asdict(content) for name, content in globals()[f"of_{library}"](root).items()}))
