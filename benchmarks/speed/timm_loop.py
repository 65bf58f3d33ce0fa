"""A plain fine-tuning script of timm's own parts, for comparison: one fold of a root that has a split.

    python benchmarks/speed/timm_loop.py ROOT --epochs 4 --encoder NAME --weights FILE

Loader and augmentation by timm.data.create_loader, AdamW by timm.optim, warm-up and cosine by timm.scheduler, in
float32. Prints macro-F1 of the fold's held-out rows and the seconds of training.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from supcon.metrics.counts import macro_f1  # noqa: E402
from supcon.run.experiment import load_experiment  # noqa: E402
from supcon.settings import parse  # noqa: E402
from supcon.training.model.timm_import import timm  # noqa: E402

# isort: split
import timm.scheduler  # noqa: E402

RATE, BATCH, DECAY = 2e-3, 64, 0.05  # those of configs/cross_entropy.yaml


class Images(Dataset[tuple[Image.Image, int]]):
    """Files with their class numbers, as timm's loader wants them: it sets `transform`."""

    transform = None

    def __init__(self, files: list[Path], labels: list[int]) -> None:
        self._files, self._labels = files, labels

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, row: int) -> tuple[Image.Image, int]:
        image = Image.open(self._files[row]).convert("RGB")
        return (self.transform(image) if self.transform else image), self._labels[row]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("root", type=Path)
    parser.add_argument("--encoder", default="tf_efficientnet_lite0")
    parser.add_argument("--weights", required=True)
    for name, default in (("fold", 0), ("side", 128), ("epochs", 4), ("workers", 2), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    experiment = load_experiment(parse("", [f"--root={options.root}", "--config=configs/default.yaml"]))
    files, split = experiment.competition.files, experiment.split
    labels, fold = pd.Series(split.labels), split.fold
    started = time.perf_counter()

    parts = [(fold != options.fold).nonzero()[0], (fold == options.fold).nonzero()[0]]
    sets: list[Any] = [Images([files[row] for row in rows], labels[rows].tolist()) for rows in parts]
    model = timm.create_model(
        options.encoder, True, num_classes=len(split.classes), pretrained_cfg_overlay={"file": options.weights}
    )
    data = timm.data.resolve_model_data_config(model)
    shared = {"input_size": (3, options.side, options.side), "batch_size": BATCH, "use_prefetcher": False,
              "mean": data["mean"], "std": data["std"], "num_workers": options.workers}  # fmt: skip
    train_loader = timm.data.create_loader(sets[0], is_training=True, vflip=0.5, **shared)
    test_loader = timm.data.create_loader(sets[1], is_training=False, crop_pct=1.0, **shared)
    optimizer = timm.optim.create_optimizer_v2(model, "adamw", lr=RATE, weight_decay=DECAY)
    steps = len(train_loader) * options.epochs
    scheduler, _ = timm.scheduler.create_scheduler_v2(
        optimizer, "cosine", num_epochs=steps, warmup_epochs=steps // 10, warmup_prefix=True, step_on_epochs=True
    )  # an "epoch" of it is a step
    for epoch in range(options.epochs):
        model.train()
        for number, (images, classes) in enumerate(train_loader):
            scheduler.step(epoch * len(train_loader) + number)
            loss = nn.functional.cross_entropy(model(images), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        print(f"epoch {epoch + 1}: loss {loss.item():.3f}, {time.perf_counter() - started:.0f} s", flush=True)
    seconds = time.perf_counter() - started
    score = macro_f1(split.labels[parts[1]], predict(model, test_loader).numpy(), len(split.classes))
    print(f"{score:.4f} {seconds:.1f}")


@torch.inference_mode()
def predict(model: nn.Module, loader: Any) -> Tensor:
    """Return the likeliest class of every row."""
    model.eval()
    return torch.cat([model(images).argmax(dim=1) for images, _ in loader])


if __name__ == "__main__":
    main()
