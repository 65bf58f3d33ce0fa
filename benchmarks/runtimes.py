"""What do torch, onnxruntime and OpenVINO make of an encoder on this CPU? python benchmarks/runtimes.py [NAME ...]

Images a second of one model of a bundle (input normalisation, encoder with fused batch norm, classifier) on batches of
noise, in every format and precision that `./run.sh bundle` writes. All take turns in one process, round by round, each
with a pass before the one that is timed; the table has the medians, and how many times torch in float32 that is.
Weights are random: speed does not depend on them, the error of int8 does, which `bundle` measures.
"""

import argparse
import dataclasses
import shutil
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "src")]

from supcon.bundle.export import export  # noqa: E402
from supcon.bundle.formats import Model, Target, Views, open_model, require_packages  # noqa: E402
from supcon.bundle.manifest import CLASSIFIER, Bundle  # noqa: E402
from supcon.bundle.on_torch import Model as TorchModel  # noqa: E402
from supcon.competition.form import Form  # noqa: E402
from supcon.decision.merge import head_and_class_means  # noqa: E402
from supcon.decision.rule import Rule  # noqa: E402
from supcon.errors import UserError  # noqa: E402
from supcon.settings.settings import DataSettings, MachineSettings, ModelSettings, Settings  # noqa: E402
from supcon.storage.processes import available_cores  # noqa: E402
from supcon.training.model.classifier import classifier_head  # noqa: E402
from supcon.training.model.encoder import Encoder  # noqa: E402
from supcon.training.model.weights import save_weights  # noqa: E402

ENCODERS = ["tf_efficientnet_lite0", "convnext_atto", "vit_tiny_patch16_224"]
CLASSES = 12
TARGETS = [
    Target(format, precision)
    for format, precisions in (
        ("torch", ("float32", "bfloat16")),
        ("onnx", ("float32", "int8")),
        ("openvino", ("float32", "bfloat16", "int8")),
    )
    for precision in precisions
]


def main() -> None:
    """Print a row an encoder."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "encoders", nargs="*", metavar="NAME", default=ENCODERS, help=f"(default: {' '.join(ENCODERS)})"
    )
    parser.add_argument("--side", type=int, default=224, help="of the images, pixels (default: 224)")
    parser.add_argument("--batch", type=int, default=32, help="images a pass (default: 32)")
    parser.add_argument("--rounds", type=int, default=9, help="(default: 9)")
    parser.add_argument("--threads", type=int, default=available_cores(), help="(default: all cores)")
    options = parser.parse_args()
    for target in TARGETS:
        require_packages(target)
    print(f"{options.threads} threads, {options.side} pixels, batches of {options.batch}, {options.rounds} rounds\n")
    print(f"| encoder | {' | '.join(map(str, TARGETS))} |\n|---{'|---' * len(TARGETS)}|")
    for name in options.encoders:
        with tempfile.TemporaryDirectory() as folder:
            speeds = measured(name, Path(folder), options)
        cells = (f"{speed:.1f} ({speed / speeds[0]:.2f})" for speed in speeds)
        print(f"| {name} | {' | '.join(cells)} |", flush=True)


def measured(encoder: str, folder: Path, options: argparse.Namespace) -> list[float]:
    """Return the images a second for each target."""
    bundle = bundled(encoder, folder, options)
    random = np.random.default_rng(0)
    views = random.integers(0, 256, (options.batch, options.side, options.side, 3), np.uint8)
    models = [opened(bundle, target, views) for target in TARGETS]
    seconds = [[timed(model, views) for model in models] for _ in range(options.rounds)]
    return [options.batch / median for median in np.median(seconds, axis=0).tolist()]


def bundled(encoder: str, folder: Path, options: argparse.Namespace) -> Bundle:
    """Return a bundle of one model for torch."""
    torch.manual_seed(0)
    settings = Settings(
        data=DataSettings(store="pixels", image_size=options.side),
        model=ModelSettings(encoder=encoder, pretrained=False),
        machine=MachineSettings(device="cpu", threads=options.threads),
    )
    network = Encoder(settings.model, options.side, load_weights=False)
    head = classifier_head(network.width, CLASSES, settings)
    (folder / "fold0").mkdir()
    save_weights(folder / "fold0" / CLASSIFIER, encoder=network, classifier=head)
    shares, names, nothing = [1 / CLASSES] * CLASSES, [f"{number:02}" for number in range(CLASSES)], [[0.0] * CLASSES]
    rule, members = Rule(tuple(shares)), [head_and_class_means(0)]
    return Bundle(folder, settings, names, "id", Form(["label"]), ["fold0"], nothing, nothing, rule, members)


def opened(bundle: Bundle, target: Target, views: Views) -> Model:
    """Return the model for a target, loaded."""
    if target.format == "torch":
        return TorchModel(dataclasses.replace(bundle, precision=target.precision), "fold0", "cpu")
    return open_model(exported_bundle(bundle, target, views), "fold0")


def exported_bundle(bundle: Bundle, target: Target, views: Views | None = None) -> Bundle:
    """Return a bundle of torch in another format; int8 is fitted to the views."""
    folder = bundle.folder / str(target)  # of its own: files of models in use are mapped into memory
    shutil.copytree(bundle.folder / "fold0", folder / "fold0")
    exported = dataclasses.replace(bundle, folder=folder, precision=target.precision)
    export(exported, "fold0", target, views if target.precision == "int8" else None)
    return dataclasses.replace(exported, format=target.format)


def timed(model: Model, views: Views) -> float:
    """Return the seconds of a pass; threads of other runtimes come to rest in the one before it."""
    model(views)
    started = time.perf_counter()
    model(views)
    return time.perf_counter() - started


if __name__ == "__main__":
    try:
        main()
    except UserError as error:
        sys.exit(f"error: {error}")
