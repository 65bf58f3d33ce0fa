"""What a competitor writes in an evening, for comparison: float32, NCHW, torchvision's transforms on PIL images.

    python benchmarks/speed/plain.py pretrain|heads|predict INPUT --encoder NAME --side PIXELS ...

Prints images per second (pretrain) or seconds (heads, predict). Folds, views and epochs are plain loops around the
same pieces, and every pass decodes the files again.
"""

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, Subset

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "src"))

from supcon.training.model.timm_import import timm  # noqa: E402  # mends torchvision's import beside a CPU build of torch

# isort: split
from torchvision import transforms  # noqa: E402

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
FOLDS, TEMPERATURE = 5, 0.1


class Files(Dataset[tuple[Tensor, int]]):
    """Images from their files, each `views` times through a transform, with their class."""

    def __init__(self, folder: Path, table: str, transform: Callable[[Image.Image], Tensor], views: int = 1) -> None:
        lines = (folder / table).read_text().split()[1:]
        self._rows = [line.split(",") for line in lines]
        self._folder = folder / ("train" if table == "train.csv" else "test")
        self._transform, self._views = transform, views

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, row: int) -> tuple[Tensor, int]:
        name, label = self._rows[row]
        image = Image.open(self._folder / f"{name}.jpg").convert("RGB")
        return torch.stack([self._transform(image) for _ in range(self._views)]), int(label[1:])


def random_view(side: int) -> Any:
    """Return the usual transforms of contrastive training (Khosla et al. 2020)."""
    return transforms.Compose([
        transforms.RandomResizedCrop(side, scale=(0.2, 1.0)),
        transforms.RandomHorizontalFlip(),
        transforms.RandomApply([transforms.ColorJitter(0.4, 0.4, 0.4, 0.1)], p=0.8),
        transforms.RandomGrayscale(p=0.2),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])  # fmt: skip


def plain_view(side: int, flip: float = 0.0) -> Any:
    """Return the transforms of evaluation, mirrored with probability `flip`."""
    return transforms.Compose([
        transforms.Resize(side),
        transforms.CenterCrop(side),
        transforms.RandomHorizontalFlip(flip),
        transforms.ToTensor(),
        transforms.Normalize(MEAN, STD),
    ])  # fmt: skip


def dense_loss(embeddings: Tensor, labels: Tensor) -> Tensor:
    """Return the supervised contrastive loss by N x N matrices and masks (Khosla et al. 2020, eq. 2)."""
    embeddings = F.normalize(embeddings, dim=1)
    logits = embeddings @ embeddings.T / TEMPERATURE
    logits = logits - logits.max(dim=1, keepdim=True).values.detach()
    others = 1 - torch.eye(len(labels))
    positives = (labels[:, None] == labels[None, :]).float() * others
    log_probabilities = logits - (logits.exp() * others).sum(dim=1, keepdim=True).log()
    return -((positives * log_probabilities).sum(dim=1) / positives.sum(dim=1).clamp(min=1)).mean()


def pretrain(options: argparse.Namespace) -> float:
    """Return the images per second of contrastive training, views counted, after a first step."""
    data = Files(options.folder, "train.csv", random_view(options.side), views=2)
    loader = DataLoader(
        data, options.batch, shuffle=True, num_workers=options.workers, drop_last=True, persistent_workers=True
    )
    encoder = timm.create_model(options.encoder, num_classes=0)
    width = encoder(torch.zeros(2, 3, options.side, options.side)).shape[1]
    head = nn.Sequential(nn.Linear(width, 512), nn.ReLU(), nn.Linear(512, 128))
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3)
    steps, started = 0, 0.0
    while steps <= options.steps:
        for views, labels in loader:
            loss = dense_loss(head(encoder(views.flatten(0, 1))), labels.repeat_interleave(2))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            loss.item()
            steps += 1
            if steps == 1:
                started = time.perf_counter()
            if steps > options.steps:
                break
    return options.steps * options.batch * 2 / (time.perf_counter() - started)


def heads(options: argparse.Namespace) -> float:
    """Return the seconds of one epoch of five folds' linear heads on a frozen encoder, images encoded anew."""
    data = Files(options.folder, "train.csv", plain_view(options.side))
    started = time.perf_counter()
    for fold in range(FOLDS):
        encoder = timm.create_model(options.encoder, num_classes=0).eval()
        head = nn.LazyLinear(options.classes)
        optimizer = None
        rows = [row for row in range(len(data)) if row % FOLDS != fold]
        loader = DataLoader(Subset(data, rows), options.batch, shuffle=True, num_workers=options.workers)
        for views, labels in loader:
            with torch.no_grad():
                features = encoder(views[:, 0])
            loss = F.cross_entropy(head(features), labels)
            optimizer = optimizer or torch.optim.AdamW(head.parameters(), lr=1e-3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return time.perf_counter() - started


def predict(options: argparse.Namespace) -> float:
    """Return the seconds of the test images through five folds' models in four views."""
    started = time.perf_counter()
    for _ in range(FOLDS):
        model = timm.create_model(options.encoder, num_classes=options.classes).eval()
        for view in range(4):
            data = Files(options.folder, "sample_submission.csv", plain_view(options.side, flip=view % 2))
            loader = DataLoader(data, options.batch, num_workers=options.workers)
            with torch.no_grad():
                torch.cat([model(views[:, 0]).softmax(dim=1) for views, _ in loader])
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("pretrain", "heads", "predict"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--encoder", default="resnet18")
    for name, default in (("side", 32), ("batch", 256), ("steps", 4), ("classes", 64), ("workers", 1)):
        parser.add_argument(f"--{name}", type=int, default=default)
    options = parser.parse_args()
    torch.manual_seed(0)
    print({"pretrain": pretrain, "heads": heads, "predict": predict}[options.what](options))


if __name__ == "__main__":
    main()
