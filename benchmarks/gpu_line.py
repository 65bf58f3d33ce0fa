"""The smoke line on a GPU: it runs through, and a killed training goes on to the same predictions within tolerance.

    python benchmarks/gpu_line.py --device cuda --json line.json

Run `whole` is the line on the built-in competition. Fold 0 is trained twice more: `again` as it was, `killed` with a
kill of each training stage. `again` differs from `whole` because a GPU adds atomically, in any order: so much may
`killed` differ too.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
STAGES = ("make_folds", "pretrain", "finetune", "predict", "tune", "ensemble")
SPREAD = 0.03  # of labels: `killed` may differ by so much more than `again`, three standard errors of 763 rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--quick", action="store_true", help="a tiny network and few images, to try the script")
    parser.add_argument("--json", type=Path, help="also write the result here")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    flags = ["--root", str(folder), "--config", str(ROOT / "configs" / "smoke.yaml"), "--machine.device", args.device]
    flags += ["--pretrain.epochs", "3", "--finetune.epochs", "4", "--machine.workers", "4"]
    if args.quick:
        flags += ["--model.encoder", "test_resnet", "--data.shots", "8", "--data.image_size", "16"]
        flags += ["--machine.threads", "1", "--tune.trials", "3", "--tune.bootstrap", "10"]
    try:
        result = compare(folder, flags)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    print(json.dumps(result, indent=1))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1))
    assert result["kills"] == 2, "a stage ended before it could be killed: nothing was shown"
    assert result["killed"] >= result["again"] - SPREAD, "a resumed run differs by more than a repeated one"


def compare(folder: Path, flags: list[str]) -> dict[str, Any]:
    """Return the seconds of the line, and the share of labels of the other runs that agree with it."""
    seconds: dict[str, float] = {}
    for name in STAGES:
        started = time.perf_counter()
        stage(name, *flags, "--run", "whole")
        seconds[name] = round(time.perf_counter() - started, 1)
    with ThreadPoolExecutor() as pool:
        again = pool.submit(train, folder, [*flags, "--run", "again", "--fold", "0"], False)
        kills = train(folder, [*flags, "--run", "killed", "--fold", "0"], True)
        again.result()
    whole, *others = (labels_of(folder / "runs" / run / "fold0" / "oof.npz") for run in ("whole", "again", "killed"))
    agreement = {
        name: float(np.mean(whole == labels)) for name, labels in zip(("again", "killed"), others, strict=True)
    }
    scores = json.loads((folder / "runs" / "whole" / "scores.json").read_text())
    return {"seconds": seconds, "kills": kills, **agreement, "cross_fitted": scores["cross_fitted"]["pooled"]["score"]}


def train(folder: Path, flags: list[str], kill: bool) -> int:
    """Train and predict a fold, each training stage killed after its first checkpoint or not; return the kills."""
    kills = 0
    for name in ("pretrain", "finetune"):
        if kill:
            kills += begin_and_kill(command(name, *flags), folder / "runs/killed/fold0" / f"{name}.checkpoint.pt")
        stage(name, *flags)
    stage("predict", *flags)
    return kills


def begin_and_kill(words: list[str], checkpoint: Path) -> bool:
    """Start a command and kill it with its loader processes once there is a checkpoint; False where it was quicker."""
    quiet = subprocess.DEVNULL
    process = subprocess.Popen(words, stdout=quiet, stderr=quiet, start_new_session=True)
    while process.poll() is None and not checkpoint.exists():
        time.sleep(0.01)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() != 0


def stage(name: str, *flags: str) -> None:
    """Run a stage; its last lines are shown when it fails."""
    done = subprocess.run(command(name, *flags), capture_output=True, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2000:]}")


def command(name: str, *flags: str) -> list[str]:
    return [sys.executable, str(ROOT / "src" / f"{name}.py"), *flags]


def labels_of(path: Path) -> np.ndarray:
    with np.load(path) as content:
        return content["logits"].mean(axis=1).argmax(axis=1)


if __name__ == "__main__":
    main()
