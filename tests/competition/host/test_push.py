"""A bundle becomes a dataset and a notebook on the host, and what that writes is submitted: by the real client."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest

from supcon.commands import bundle
from supcon.competition import own_work
from supcon.competition.ledger import read_ledger
from supcon.errors import UserError
from tests.competition.host.standin import KEY, StandIn
from tests.competition.host.test_real_client import host, pytestmark
from tests.conftest import REPOSITORY, copied_root

__all__ = ["host", "pytestmark"]  # a fixture; slow, and only where the client is installed
FLAGS = ["--config", str(REPOSITORY / "configs" / "cross_entropy.yaml"), "--push", "--competition=seeds-2026"]
LOOP = [
    "StartBlobUpload", "CreateDataset", "GetDatasetStatus", "SaveKernel", "GetKernelSessionStatus",
    "GetKernelSessionStatus", "ListSubmissions", "GetSubmissionLimits", "CreateCodeSubmission", "ListSubmissions",
    "ListSubmissions",
]  # fmt: skip


@pytest.fixture
def root(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(own_work, "PAUSE_S", 0.01)
    return copied_root(finished, tmp_path / "root")


def push(root: Path, *flags: str) -> None:
    bundle.main(["--root", str(root), *FLAGS, "-m", "three folds", "--wait", "30", *flags])


def newest(root: Path) -> dict[str, Any]:
    return dict(read_ledger(root / "submissions" / "ledger.csv").iloc[-1])


def test_the_whole_loop_from_dataset_to_score_and_a_second_round(
    root: Path, host: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    push(root)
    assert [request for request in host.log if request != "StartBlobUpload"] == [
        request for request in LOOP if request != "StartBlobUpload"
    ]
    with zipfile.ZipFile(io.BytesIO(host.blobs[0])) as archive:
        assert "bundle.json" in archive.namelist()
    notebook = host.notebooks["nobody/supcon-cross-entropy-predict"][0]
    assert notebook["datasetDataSources"] == ["nobody/supcon-cross-entropy-bundle"]
    assert notebook["competitionDataSources"] == ["seeds-2026"]
    assert notebook["enableInternet"] is False
    here = json.loads((root / "runs" / "cross_entropy" / "bundle" / "predict.ipynb").read_text())
    assert json.loads(notebook["text"])["cells"] == here["cells"]
    row, before = newest(root), read_ledger(root / "submissions" / "ledger.csv").iloc[0]
    assert (row["file"], row["message"]) == ("nobody/supcon-cross-entropy-predict 1", "three folds")
    assert (row["public_score"], row["run"]) == ("0.79", "cross_entropy")
    assert (row["raw"], row["cross_fitted"], row["metric"]) == tuple(before[["raw", "cross_fitted", "metric"]])
    printed = capfd.readouterr()
    assert "version 1 of https://www.kaggle.com/code/nobody/supcon-cross-entropy-predict runs" in printed.out
    assert f"public score 0.79 (cross-fitted here {row['cross_fitted']})" in printed.out
    assert KEY not in printed.out + printed.err

    host.session = [{"status": "COMPLETE"}]
    push(root, "--owner=nobody", "--gpu")
    assert host.log.count("CreateDatasetVersion") == 1
    assert [version["enableGpu"] for version in host.notebooks["nobody/supcon-cross-entropy-predict"]] == [False, True]
    assert newest(root)["file"] == "nobody/supcon-cross-entropy-predict 2"


REFUSALS = [
    (
        {"session": [{"status": "ERROR", "failureMessage": "out of memory"}]},
        {},
        r"failed on the host \(out of memory\)",
    ),
    (
        {"refused": {"invalidCompetitionSources": ["seeds-2026"]}},
        {},
        "cannot have the competition 'seeds-2026': join it",
    ),
    ({}, {"CreateDataset": (400, "")}, "the host refuses it without saying why"),
    ({}, {"SaveKernel": (403, "Permission 'kernels.create' was denied")}, "does not permit this to your account"),
    ({}, {"CreateCodeSubmission": (400, "")}, "the host refuses it without saying why"),
]


@pytest.mark.parametrize(("state", "errors", "message"), REFUSALS)
def test_what_the_host_refuses_is_one_line_and_the_ledger_stays(
    root: Path, host: StandIn, state: dict[str, Any], errors: dict[str, tuple[int, str]], message: str
) -> None:
    ledger = (root / "submissions" / "ledger.csv").read_bytes()
    for name, value in state.items():
        setattr(host, name, value)
    host.errors |= errors
    with pytest.raises(UserError, match=message) as caught:
        push(root)
    assert "\n" not in str(caught.value)
    assert (root / "submissions" / "ledger.csv").read_bytes() == ledger


def test_a_notebook_that_still_runs_is_left_with_the_command_that_submits_it(
    root: Path, host: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    host.session = [{"status": "RUNNING"}]
    push(root, "--wait=0")
    command = "kaggle competitions submit seeds-2026 -k nobody/supcon-cross-entropy-predict -v 1 -f submission.csv -m"
    assert command in capfd.readouterr().out


def test_a_push_without_a_message_is_refused_before_the_work(root: Path) -> None:
    with pytest.raises(UserError, match="--push wants --message TEXT"):
        bundle.main(["--root", str(root), *FLAGS])
    assert not (root / "runs" / "cross_entropy" / "bundle").exists()
