"""Training by two processes ends like training by one: the same batches, gradients, files, and resumable by either."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load_file

from tests.conftest import REPOSITORY, TINY, built_once, run_stage, write_competition

LOGGED = ("loss", "floor", "collapse", "valid", "passes", "contrastive", "cross_entropy")
RATE = 1e-4
SMALL = (  # odd batches, so that shares differ
    "--fold=0", "--finetune.epochs=2", "--finetune.batch_size=25", "--batches.images_per_class=5",
    f"--pretrain.lr={RATE}", f"--finetune.lr={RATE}", f"--finetune.encoder_lr={RATE}",
)  # fmt: skip
VIT = ("--model.encoder=test_vit", "--data.image_size=32")
CASES: dict[str, tuple[str, ...]] = {
    "natural": VIT,
    "pk-mixed": (*VIT, "--finetune.batches=pk", "--finetune.views=2", "--finetune.cutmix=1", "--pretrain.mixup=0.5"),
    "gradcache": (*VIT, "--pretrain.micro_batch=4", "--finetune.micro_batch=5", "--finetune.mixup=1"),
    "memory": (*VIT, "--pretrain.memory=23", "--pretrain.momentum=0.9", "--pretrain.use_test=true"),
    "prototypes": (*VIT, "--contrast.form=balanced", "--contrast.prototypes=true", "--finetune.contrastive_weight=0"),
    "batch-norm": ("--model.encoder=test_resnet", "--contrast.projection_norm=true"),
    "linear": (
        *VIT,
        "--finetune.mode=linear",
        "--finetune.contrastive_weight=0",
        "--finetune.contrastive_weight_end=0",
    ),
}


def arguments(root: Path, run: str, *flags: str) -> list[str]:
    config = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]
    return ["--root", str(root), *config, "--run", run, *TINY, *SMALL, *flags]


def weights(root: Path, run: str, name: str) -> np.ndarray:
    tensors = load_file(root / "runs" / run / "fold0" / f"{name}.safetensors")
    return np.concatenate([tensors[key].ravel().astype(np.float64) for key in sorted(tensors)])


def steps_astray(root: Path, one: str, other: str, name: str) -> float:
    """Return by how many steps of the optimizer a weight of one run is off another's, root mean square.

    AdamW moves a weight by about the rate a step, however small its gradient is: where that is nothing but rounding, on
    any processor, the weight goes a way of its own. Other batches, or gradients, would send all of them astray.
    """
    difference = weights(root, other, name) - weights(root, one, name)
    return float(np.sqrt(np.mean(difference**2)) / RATE)


def oof(root: Path, run: str) -> np.ndarray:
    with np.load(root / "runs" / run / "fold0" / "oof.npz") as content:
        return np.asarray(content["logits"], np.float64)


def logs(root: Path, run: str, stage: str) -> pd.DataFrame:
    table = pd.read_csv(root / "runs" / run / "fold0" / f"{stage}.csv")
    return table[[column for column in LOGGED if column in table.columns]]


def by_torchrun(calls: Sequence[tuple[str, list[str]]]) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    return subprocess.run(
        [*command, "tests/stages/two_processes.py", json.dumps(calls)],
        cwd=REPOSITORY,
        env={**os.environ, "PYTHONPATH": "src", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root where every case was trained by one process, and by two."""
    return built_once(tmp_path_factory, "nproc", train)


def train(root: Path) -> None:
    """Train every case of the small competition by one process, and by two."""
    write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    run_stage("make_folds", root)
    calls = []
    for case, flags in CASES.items():
        for stage in ("pretrain", "finetune"):
            run_stage(stage, root, "--run", f"{case}-one", *SMALL, *flags)
            calls.append((stage, arguments(root, f"{case}-two", *flags)))
    own = ("--train.sync_batch_norm=false", *CASES["batch-norm"])
    result = by_torchrun([*calls, ("pretrain", arguments(root, "own-statistics", *own))])
    assert result.returncode == 0, result.stderr
    for stage in ("pretrain", "finetune"):  # of two processes one prints
        assert result.stdout.count(f"{stage} fold 0  epoch 1/2") == len(CASES) + (stage == "pretrain")
    for case, flags in CASES.items():
        for run in (f"{case}-one", f"{case}-two"):
            run_stage("predict", root, "--run", run, *SMALL, *flags)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_two_processes_train_what_one_does(trained: Path, case: str) -> None:
    one, two = f"{case}-one", f"{case}-two"
    for stage, file in (("pretrain", "encoder"), ("finetune", "classifier")):
        pd.testing.assert_frame_equal(logs(trained, one, stage), logs(trained, two, stage), rtol=2e-4)
        assert steps_astray(trained, one, two, file) < 0.1
    np.testing.assert_allclose(oof(trained, two), oof(trained, one), atol=2e-4)


@pytest.mark.slow
def test_with_batch_norm_of_each_share_the_result_is_another(trained: Path) -> None:
    own, synced = (logs(trained, run, "pretrain")["loss"].to_numpy() for run in ("own-statistics", "batch-norm-one"))
    assert np.abs(own - synced).max() > 1e-3


def command(root: Path, stage: str, *flags: str) -> list[str]:
    return [sys.executable, str(REPOSITORY / f"src/{stage}.py"), *arguments(root, "killed", *flags)]


def processes(root: Path, rank: int) -> list[int]:
    """Return the processes of a job on `root` with this number."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            of_job = str(root).encode() in (folder / "cmdline").read_bytes()
            if of_job and f"RANK={rank}".encode() in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
    return found


def wait_for(condition: Callable[[], object], seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


LONG = (*VIT, "--pretrain.epochs=40")


@pytest.mark.slow
def test_a_killed_process_ends_the_job_with_a_line_and_any_number_of_processes_goes_on(root: Path) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--run", "whole", *SMALL, *LONG)
    checkpoint = root / "runs" / "killed" / "fold0" / "pretrain.checkpoint.pt"

    job = subprocess.Popen(command(root, "pretrain", *LONG, "--nproc=2"), stderr=subprocess.PIPE, text=True)
    wait_for(checkpoint.exists)
    (pid,) = processes(root, rank=1)
    os.kill(pid, signal.SIGKILL)
    _, told = job.communicate(timeout=30)
    assert job.returncode == 2
    assert told == (
        "error: pretrain of run killed: process 1 of 2 (from 0) was ended by SIGKILL, perhaps for want of memory:"
        " the same command, without --force, goes on from the last finished epoch\n"
    )
    assert processes(root, rank=0) == []

    before = checkpoint.stat().st_mtime_ns
    alone = subprocess.Popen(command(root, "pretrain", *LONG, "--nproc=1"), stdout=subprocess.PIPE, text=True)
    wait_for(lambda: checkpoint.stat().st_mtime_ns != before)
    alone.kill()
    assert "goes on after epoch" in alone.communicate()[0]
    last = subprocess.run(
        command(root, "pretrain", *LONG, "--nproc=2"), capture_output=True, text=True, check=False, timeout=300
    )
    assert last.returncode == 0, last.stderr
    assert "goes on after epoch" in last.stdout
    assert not checkpoint.exists()
    pd.testing.assert_frame_equal(logs(root, "killed", "pretrain"), logs(root, "whole", "pretrain"), rtol=1e-3)
    assert steps_astray(root, "whole", "killed", "encoder") < 1  # of 120


@pytest.mark.slow
def test_processes_end_with_the_one_that_started_them(root: Path) -> None:
    run_stage("make_folds", root)
    job = subprocess.Popen(command(root, "pretrain", *LONG, "--nproc=2"), stdout=subprocess.DEVNULL)
    wait_for((root / "runs" / "killed" / "fold0" / "pretrain.checkpoint.pt").exists)
    assert all(processes(root, rank) for rank in (0, 1))
    job.kill()
    job.wait()
    wait_for(lambda: not processes(root, 0) and not processes(root, 1), seconds=30)


@pytest.mark.slow
def test_what_is_wrong_is_told_once(root: Path) -> None:
    run_stage("make_folds", root)
    flags = ("--pretrain.epochs=0", "--finetune.batch_size=3")
    result = subprocess.run(
        command(root, "finetune", *flags, "--nproc=2"), capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 2
    assert result.stderr == (
        "error: a batch of 3 images does not give each of 2 processes two: make the batch larger, or lower --nproc\n"
    )
    result = by_torchrun([("finetune", arguments(root, "other", *flags))])
    assert result.returncode != 0
    assert [line for line in result.stderr.splitlines() if line.startswith("error: ")] == [
        "error: a batch of 3 images does not give each of 2 processes two: make the batch larger, or lower --nproc"
    ]


def test_a_finished_stage_starts_no_processes_and_another_number_of_them_is_no_other_setting(finished: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, 'src'); import finetune;"
        f"finetune.main({['--root', str(finished), '--config', 'configs/cross_entropy.yaml', *TINY, '--nproc=2']!r});"
        "sys.exit('torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("done already") == 3
