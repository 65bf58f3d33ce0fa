"""The same work as plain.py by the project's own stages.

    python benchmarks/speed/ours.py pretrain|heads|predict ROOT --encoder NAME --side PIXELS ...

ROOT/input holds the competition. Prints images per second (pretrain) or seconds (heads, predict).
"""

import argparse
import contextlib
import dataclasses
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

import finetune  # noqa: E402
import make_folds  # noqa: E402
import predict  # noqa: E402
from supcon.run.experiment import load_experiment  # noqa: E402
from supcon.settings import parse  # noqa: E402
from supcon.training.build import contrastive_training  # noqa: E402
from supcon.training.device import set_up_device  # noqa: E402
from supcon.training.loop import Plan, train  # noqa: E402
from supcon.training.precision import choose_precision  # noqa: E402

VIEWS = ["--augment.crop=0.2", "--augment.color=0.4", "--augment.gray=0.2"]  # those of plain.py


class Clock:
    """A loader's batches, and the moments at which they were asked for."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader
        self.moments: list[float] = []

    def __iter__(self) -> Iterator[Any]:
        for batch in self._loader:
            yield batch
            self.moments.append(time.perf_counter())  # the step is done when the next batch is asked for


def pretrain(flags: list[str], options: argparse.Namespace) -> float:
    """Return the images per second of the pre-training stage, views counted, after a first step."""
    experiment = choose_precision(load_experiment(parse("", [*flags, "--pretrain.views=2", "--pretrain.epochs=1"])))
    settings = experiment.settings
    device = set_up_device(settings.machine)
    stage = experiment.stage("pretrain", 0)
    stage.ready()
    training = contrastive_training(experiment, 0, device)
    clock = Clock(training.loader)
    plan = Plan(stage, settings.pretrain, settings.train, device)
    loader: Any = clock
    train(dataclasses.replace(training, loader=loader), plan)
    steps = len(clock.moments) - 1
    return steps * options.batch * 2 / (clock.moments[-1] - clock.moments[0])


def heads(flags: list[str], options: argparse.Namespace) -> float:
    """Return the seconds of five folds' linear heads on frozen encoders, with all that the stage does."""
    started = time.perf_counter()
    finetune.main([*flags, "--pretrain.epochs=0", "--finetune.mode=linear", f"--finetune.epochs={options.epochs}"])
    return time.perf_counter() - started


def predict_folds(flags: list[str], options: argparse.Namespace) -> float:
    """Return the seconds of the test images through five folds' models in four views, the held-out rows with them."""
    finetune.main([*flags, "--pretrain.epochs=0", "--finetune.mode=linear", "--finetune.epochs=1"])
    started = time.perf_counter()
    predict.main([*flags, "--predict.views=4"])
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pretrain", "heads", "predict"))
    parser.add_argument("root", type=Path)
    parser.add_argument("--encoder", default="resnet18")
    for name, default in (("side", 32), ("batch", 256), ("epochs", 30)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options, rest = parser.parse_known_args()
    flags = [
        f"--root={options.root}", "--config=configs/default.yaml", "--run=speed", f"--data.image_size={options.side}",
        f"--model.encoder={options.encoder}", "--model.pretrained=false", "--contrast.form=out",
        "--contrast.prototypes=false", "--contrast.projection=mlp", "--contrast.temperature=0.1",
        f"--batches.classes_per_batch={options.batch // 8}", "--batches.images_per_class=8",
        f"--finetune.batch_size={options.batch}", "--finetune.contrastive_weight=0",
        "--finetune.contrastive_weight_end=0", "--predict.class_means=false", "--predict.embeddings=0", *VIEWS, *rest,
    ]  # fmt: skip
    work = {"pretrain": pretrain, "heads": heads, "predict": predict_folds}[options.what]
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        make_folds.main(flags)
        choose_precision(load_experiment(parse("", flags)))  # once a machine and encoder: not part of the work
        result = work(flags, options)
    print(result)


if __name__ == "__main__":
    main()
