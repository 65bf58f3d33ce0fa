"""Out-of-fold macro-F1 against minutes of training: the contrastive recipe, its baseline, and a plain timm script.

    python benchmarks/speed/curve.py ROOT --weights FILE [--epochs 1 2 4 8] [--recipes default cross_entropy timm]

Fold 0 of the competition in ROOT/input at 128 px, each point a training of its own with its own schedule: `finetune`
and `predict` of a run, or timm_loop.py. What is finished is not trained again. Nothing else should run.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "src"))

from supcon.metrics.counts import macro_f1  # noqa: E402
from supcon.run.experiment import load_experiment  # noqa: E402
from supcon.settings import parse  # noqa: E402

ENCODER = "tf_efficientnet_lite0"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--weights", required=True)
    parser.add_argument("--epochs", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--recipes", nargs="+", default=["default", "cross_entropy", "timm"])
    options, flags = parser.parse_known_args()
    print("| recipe | epochs | minutes | macro-F1, one view | macro-F1, 4 views |\n|---|---|---|---|---|", flush=True)
    for epochs in options.epochs:
        for recipe in options.recipes:
            point = timm_point if recipe == "timm" else stage_point
            seconds, *scores = point(options.root, recipe, epochs, options.weights, flags)
            shown = " | ".join(f"{score:.4f}" for score in scores) + (" | " if len(scores) == 1 else "")
            print(f"| {recipe} | {epochs} | {seconds / 60:.1f} | {shown} |", flush=True)


def stage_point(root: Path, recipe: str, epochs: int, weights: str, flags: list[str]) -> tuple[float, float, float]:
    """Return seconds of `finetune`, and macro-F1 of the plain view and of all."""
    name = "-".join(["curve", recipe, str(epochs), *(flag.strip("-").replace("=", "") for flag in flags)])
    words = [f"--root={root}", f"--config=configs/{recipe}.yaml", f"--run={name}", "--data.image_size=128",
             f"--finetune.epochs={epochs}", f"--model.weights={weights}", *flags]  # fmt: skip
    for stage in ("make_folds", "finetune", "predict"):
        only = [] if stage == "make_folds" else ["--fold", "0"]
        subprocess.run([sys.executable, f"src/{stage}.py", *words, *only], cwd=HERE.parents[1], check=True,
                       stdout=subprocess.DEVNULL)  # fmt: skip
    folder = root / "runs" / name / "fold0"
    seconds = json.loads((folder / "finetune.done.json").read_text())["seconds"]
    logits = np.load(folder / "oof.npz")["logits"]
    experiment = load_experiment(parse("", words[:3]))
    split = experiment.split
    true, classes = split.labels[split.rows_of(0)], len(split.classes)
    log_probabilities = logits - np.log(np.exp(logits).sum(axis=2, keepdims=True))
    scores = [macro_f1(true, p.argmax(axis=1), classes) for p in (logits[:, 0], log_probabilities.mean(axis=1))]
    return seconds, scores[0], scores[1]


def timm_point(root: Path, _: str, epochs: int, weights: str, flags: list[str]) -> tuple[float, float]:
    """Return seconds of training, and macro-F1."""
    kept = root / "runs" / f"curve-timm-{epochs}.txt"
    if not kept.exists():
        words = [str(HERE / "timm_loop.py"), str(root), f"--epochs={epochs}", f"--weights={weights}"]
        done = subprocess.run([sys.executable, *words], cwd=HERE.parents[1], check=True, capture_output=True, text=True)
        kept.write_text(done.stdout.splitlines()[-1])
    score, seconds = map(float, kept.read_text().split())
    return seconds, score


if __name__ == "__main__":
    main()
