"""The classifiers on the encoder's features: a trained head, and the class means, which need no training."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.losses.full_float32 import full_float32
from supcon.settings.settings import Settings
from supcon.training.model.adapter import Adapter, FrozenEncoder
from supcon.training.model.encoder import Encoder
from supcon.training.model.weights import load_weights

_PRIOR_VOTE = 0.1  # lower losses than a whole vote (docs/LOG.md)
_GALLERY_PART = 16_384  # views that are compared at once
FIRST_SCALE = 16.0  # of a cosine classifier's logits: learned from there


def classifier_head(width: int, classes: int, settings: Settings) -> nn.Module:
    """Return the classifier, [N, width] -> logits [N, classes]: with a hidden layer in `finetune.mode` mlp."""
    dropout = settings.model.dropout
    if settings.finetune.mode == "mlp":
        return nn.Sequential(
            nn.Linear(width, width), nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(width, classes)
        )
    cosine = settings.finetune.classifier == "cosine"
    return nn.Sequential(nn.Dropout(dropout), CosineLinear(width, classes) if cosine else nn.Linear(width, classes))


class CosineLinear(nn.Module):
    """Cosines of the features to a weight of each class, times a learned scale: [N, width] -> logits [N, classes].

    Wang et al. 2017, "NormFace" (arXiv 1704.06369).
    """

    def __init__(self, width: int, classes: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(F.normalize(torch.randn(classes, width), dim=1))
        self.log_scale = nn.Parameter(torch.tensor(FIRST_SCALE).log())

    def forward(self, features: Tensor) -> Tensor:
        """Return the logits, in float32 even within autocast."""
        with full_float32(features.device):
            cosines = F.normalize(features.float(), dim=1) @ F.normalize(self.weight.float(), dim=1).T
        return cosines * self.log_scale.exp()


def load_classifier(settings: Settings, classes: int, path: Path) -> tuple[Encoder | FrozenEncoder, nn.Module]:
    """Return the encoder and the classifier of a classifier.safetensors. Raises `UserError` as `load_weights` does.

    Of a frozen encoder the file holds the adapter alone.
    """
    if settings.model.frozen:
        frozen = _encoder(settings, load_weights=True)
        adapter, head = load_adapter(settings, classes, path, frozen.width)
        return FrozenEncoder(frozen, adapter), head
    encoder, head = untrained_classifier(settings, classes)
    load_weights(path, encoder=encoder, classifier=head)
    return encoder, head


def load_adapter(settings: Settings, classes: int, path: Path, width: int) -> tuple[Adapter, nn.Module]:
    """Return the adapter of a frozen encoder of that `width`, and the classifier, of a classifier.safetensors."""
    adapter, head = untrained_adapter(settings, classes, width)
    load_weights(path, encoder=adapter, classifier=head)
    return adapter, head


def untrained_classifier(settings: Settings, classes: int) -> tuple[Encoder, nn.Module]:
    """Return an encoder and a classifier whose weights are yet to be loaded."""
    encoder = _encoder(settings, load_weights=False)
    return encoder, classifier_head(encoder.width, classes, settings)


def untrained_adapter(settings: Settings, classes: int, width: int) -> tuple[Adapter, nn.Module]:
    """Return the adapter of a frozen encoder of that `width`, and a classifier, whose weights are yet to be loaded."""
    return Adapter(width, settings.model.adapter_width), classifier_head(width, classes, settings)


def _encoder(settings: Settings, *, load_weights: bool) -> Encoder:
    side, channels_last = settings.data.image_size, settings.train.channels_last
    return Encoder(settings.model, side, load_weights=load_weights, channels_last=channels_last)


class ClassMeans(nn.Module):
    """Cosines to the class means as natural-prior log-odds: features [N, width] -> [N, classes], float32.

    log-odds = cosine / temperature + log prior. This is Bayes' rule for unit features that are spread around the mean
    of their class with the concentration 1 / temperature (von Mises-Fisher, Banerjee et al. 2005). Cosines do not
    depend on how frequent a class is, so the whole prior is added, whatever batches the encoder was trained on. The
    temperature is not fitted: training rows lie so close to their means that a fit gives 0.0003 (docs/LOG.md).
    """

    means: Tensor
    log_prior: Tensor

    def __init__(self, features: Tensor, labels: Tensor, prior: Tensor, temperature: float) -> None:
        """Take the training rows' features [M, width], their labels [M], and class shares `prior` [classes]."""
        super().__init__()
        width = features.shape[1]
        sums = torch.zeros(len(prior), width).index_add_(0, labels, F.normalize(features.float(), dim=1))
        self.register_buffer("means", F.normalize(sums, dim=1))
        self.register_buffer("log_prior", prior.clamp(min=1e-6).log())
        self._temperature = temperature

    def forward(self, features: Tensor) -> Tensor:
        """Return the log-odds, in float32 even within autocast."""
        with full_float32(features.device):
            cosines = F.normalize(features.float(), dim=1) @ self.means.T
        return cosines / self._temperature + self.log_prior


class Neighbours(nn.Module):
    """Votes of the nearest views of training rows as natural-prior log-odds: features [N, width] -> [N, classes].

    log-odds = log(prior of c / 10 + sum over the k nearest views of class c of exp((cosine - largest) / temperature)).
    Wu et al. 2018 (arXiv 1805.01978), section 3.4, weigh neighbours so. The prior has a tenth of the nearest one's
    vote, so that no class has the probability 0. Rows are as frequent among neighbours as in nature: nothing is moved.
    """

    gallery: Tensor
    labels: Tensor
    prior: Tensor

    def __init__(self, features: Tensor, labels: Tensor, prior: Tensor, nearest: int, temperature: float) -> None:
        """Take the training views' features [M, width], their labels [M], and class shares `prior` [classes]."""
        super().__init__()
        # in half precision, as a bundle holds them: what decides there is what was tuned here
        self.register_buffer("gallery", F.normalize(features.float(), dim=1).half())
        self.register_buffer("labels", labels)
        self.register_buffer("prior", prior.clamp(min=1e-6))
        self._nearest, self._temperature = min(nearest, len(labels)), temperature

    def forward(self, features: Tensor) -> Tensor:
        """Return the log-odds, in float32 even within autocast."""
        with full_float32(features.device):
            cosines, labels = self._search(F.normalize(features.float(), dim=1))
        votes = ((cosines - cosines.amax(dim=1, keepdim=True)) / self._temperature).exp()
        sums = (_PRIOR_VOTE * self.prior).repeat(votes.shape[0], 1).scatter_add_(1, labels, votes)
        return sums.log()

    def _search(self, queries: Tensor) -> tuple[Tensor, Tensor]:
        """Return cosines and labels [N, k] of the nearest views, of a part of the gallery at a time."""
        rows = queries.shape[0]  # not len(queries), which an exported network would keep as a fixed number
        best = queries.new_empty(rows, 0)
        labels = torch.empty(rows, 0, dtype=torch.long, device=queries.device)
        for part, own in zip(self.gallery.split(_GALLERY_PART), self.labels.split(_GALLERY_PART), strict=True):
            best = torch.cat([best, queries @ part.float().T], dim=1)
            labels = torch.cat([labels, own.expand(rows, -1)], dim=1)
            best, kept = best.topk(min(self._nearest, best.shape[1]), dim=1)
            labels = labels.gather(1, kept)
        return best, labels


class Classifiers(nn.Module):
    """Several classifiers on the features of one forward pass."""

    def __init__(self, encoder: nn.Module, classifiers: nn.ModuleDict) -> None:
        super().__init__()
        self.encoder, self.classifiers = encoder, classifiers

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features [N, width] and every classifier's float32 logits [N, classifiers, classes]."""
        features = self.encoder(views)
        return features, self.logits(features)

    def logits(self, features: Tensor) -> Tensor:
        """Return every classifier's float32 logits [N, classifiers, classes] of features [N, width]."""
        return torch.stack([classifier(features).float() for classifier in self.classifiers.values()], dim=1)
