"""What a run's trackers hold, each read back by its own library."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
import pytest

from supcon.settings.settings import TRACKERS
from tests.conftest import REPOSITORY, built_once, copied_root, run_command
from tests.tracking.readers import INSTALLED, LIBRARIES, Told, told

pytestmark = pytest.mark.slow  # the libraries take seconds to begin, in a process for each test
ALL = ",".join(INSTALLED)
RUN = "cross_entropy"  # finished without trackers


@dataclass(frozen=True)
class Tracked:
    """A root in which a finished run got trackers, and a fold of another was pre-trained with them."""

    root: Path

    @property
    def printed(self) -> str:
        return (self.root / "printed.txt").read_text()

    def of(self, library: str, name: str) -> Told:
        return told(library, self.root)[name]


@pytest.fixture(scope="module")
def tracked(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Tracked:
    if not INSTALLED:
        pytest.skip(f"none of {', '.join(TRACKERS)} is installed")

    def build(folder: Path) -> None:
        root = copied_root(finished, folder / "a root")
        results = [
            run_command("pretrain", root, "--run=new", "--fold=1", "--track", ALL),
            run_command("ensemble", root, "--track", ALL),
            run_command("report", root, "--track", ALL),
            run_command("ensemble", root, "--track", ALL),
        ]
        for result in results:
            assert (result.returncode, result.stderr) == (0, ""), result.stderr
        (root / "printed.txt").write_text("".join(result.stdout for result in results))

    return Tracked(built_once(tmp_path_factory, "tracked", build) / "a root")


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_epoch_is_told_with_all_that_the_table_holds(tracked: Tracked, library: str) -> None:
    holds = tracked.of(library, "new pretrain fold 1")
    table = pd.read_csv(tracked.root / "runs" / "new" / "fold1" / "pretrain.csv").set_index("epoch")
    wanted = {(number, name): value for number, row in table.iterrows() for name, value in row.items()}
    assert {"loss", "knn_macro_f1", "passes"} <= set(table)
    assert {(step, name): value for step, name, value in holds.points} == pytest.approx(wanted, rel=1e-6)
    assert len(holds.points) == len(wanted)  # each once


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_settings_are_told_and_the_run_is_the_group(tracked: Tracked, library: str) -> None:
    holds = tracked.of(library, "new pretrain fold 1")
    assert holds.group == "new"
    assert holds.settings["model.encoder"] == "test_resnet"
    assert float(holds.settings["pretrain.lr"]) == 0.001
    assert not [key for key in holds.settings if key.startswith("machine.")]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_run_that_was_finished_before_gets_its_scores_once_and_its_page(tracked: Tracked, library: str) -> None:
    holds = tracked.of(library, f"{RUN} ensemble")
    table = json.loads((tracked.root / "runs" / RUN / "scores.json").read_text())
    pooled = {kind: table[kind]["pooled"] for kind in ("cross_fitted", "raw")}
    wanted = {kind: score["score"] for kind, score in pooled.items()}
    wanted |= {f"{kind}_standard_error": score["standard_error"] for kind, score in pooled.items()}
    assert holds.scores == {name: pytest.approx(value, rel=1e-6) for name, value in wanted.items()}
    assert holds.pages == [(tracked.root / "runs" / RUN / "report.html").read_text()]
    lines = [line for line in tracked.printed.splitlines() if line.startswith(f"ensemble: tracked by {library}")]
    assert len(lines) == 2  # the scores, then the page; the second `ensemble` has nothing to tell


@pytest.mark.parametrize("library", LIBRARIES)
def test_where_the_files_lie_is_said_in_a_line(tracked: Tracked, library: str) -> None:
    begin = f"pretrain fold 1: tracked by {library}"
    (line,) = [line for line in tracked.printed.splitlines() if line.startswith(begin)]
    place = Path(line.partition(", ")[2].removeprefix("offline in ").removeprefix("sqlite:///"))
    assert place.exists()
    assert "a root" in str(place)


def test_trackers_change_no_byte_of_a_result(tracked: Tracked) -> None:
    weights = [tracked.root / "runs" / run / "fold1" / "encoder.safetensors" for run in (RUN, "new")]
    assert weights[0].read_bytes() == weights[1].read_bytes()


INTERRUPTED = """
import os, signal, sys, time
from supcon.settings import parse
from supcon.tracking import Subject, Trackers

root, names, first, last, killed = sys.argv[1:]
trackers = Trackers(Subject(parse("", ["--root", root, "--run", "long", "--track", names]), "finetune", 2))
for number in range(int(first), int(last) + 1):
    trackers.epoch(number, {"loss": 1 / number})
if killed == "yes":
    time.sleep(3)  # libraries write within a second
    os.kill(os.getpid(), signal.SIGKILL)
trackers.close()
"""


@pytest.fixture(scope="module")
def resumed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root where a process was killed that had told of two epochs, and another went on from the first."""
    if not INSTALLED:
        pytest.skip(f"none of {', '.join(TRACKERS)} is installed")
    root = tmp_path_factory.mktemp("resumed")
    for words in (["1", "2", "yes"], ["2", "3", "no"]):
        command = [sys.executable, "-c", INTERRUPTED, str(root), ALL, *words]
        result = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY, check=False)
        assert result.stderr == ""
        assert result.returncode == (-9 if words[-1] == "yes" else 0)
    return root


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_killed_stage_goes_on_in_the_same_run_without_repeating_an_epoch(resumed: Path, library: str) -> None:
    (holds,) = told(library, resumed).values()
    assert sorted(holds.points) == [(number, "loss", pytest.approx(1 / number)) for number in (1, 2, 3)]
    assert len(set(holds.ids)) == 1


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_tracker_that_cannot_write_is_one_line_and_the_training_goes_on(root: Path, library: str) -> None:
    folder = root / "runs" / RUN / "fold0" / "tensorboard" if library == "tensorboard" else root / "tracking"
    assert run_command("make_folds", root).returncode == 0
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.write_text("a file where the folder belongs")
    result = run_command("pretrain", root, "--fold=0", "--track", library)
    assert result.returncode == 0, result.stderr
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"warning: pretrain fold 0: {library} fails (")
    assert line.endswith("): the run goes on without it")
    assert (root / "runs" / RUN / "fold0" / "pretrain.done.json").exists()


SECRETS = {
    "WANDB_API_KEY": "0123456789abcdef0123456789abcdefsecret00",
    "MLFLOW_TRACKING_URI": "http://me:secret11@127.0.0.1:9/",
    "MLFLOW_TRACKING_TOKEN": "secret22",
    "HF_TOKEN": "hf_secret33",
    "TRACKIO_WRITE_TOKEN": "secret44",
}


def test_no_credential_is_written_or_printed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**SECRETS, "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}.items():
        monkeypatch.setenv(name, value)
    assert run_command("make_folds", root).returncode == 0
    result = run_command("pretrain", root, "--fold=0", "--track", ALL)
    assert result.returncode == 0, result.stderr
    assert [line.split()[4] for line in result.stderr.splitlines()] == ["mlflow"] * ("mlflow" in INSTALLED)  # no server
    assert "secret" not in result.stdout + result.stderr
    files = [path for path in root.rglob("*") if path.is_file()]
    assert (root / "runs" / RUN / "resolved.yaml") in files
    assert not [path for path in files if b"secret" in path.read_bytes()]


def test_tasks_side_by_side_track_a_fold_each(root: Path) -> None:
    pytest.importorskip("ray", reason="ray is not installed")
    assert run_command("make_folds", root).returncode == 0
    result = run_command("pretrain", root, "--jobs=3", "--task.cpus=1", "--track", ALL)
    assert result.returncode == 0, result.stderr
    for library in INSTALLED:
        runs = told(library, root)
        assert set(runs) == {f"{RUN} pretrain fold {fold}" for fold in range(3)}
        for run in runs.values():
            assert {step for step, _, _ in run.points} == {1, 2}
            assert run.group == RUN
