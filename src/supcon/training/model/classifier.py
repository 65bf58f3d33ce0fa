"""The classifiers on the encoder's features: a trained head, and the class means, which need no training."""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.losses.full_float32 import full_float32
from supcon.settings.settings import Settings
from supcon.training.model.encoder import Encoder
from supcon.training.model.weights import load_weights

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


def load_classifier(settings: Settings, classes: int, path: Path) -> tuple[Encoder, nn.Module]:
    """Return the encoder and the classifier of a classifier.safetensors. Raises `UserError` as `load_weights` does."""
    side, channels_last = settings.data.image_size, settings.train.channels_last
    encoder = Encoder(settings.model, side, load_weights=False, channels_last=channels_last)
    head = classifier_head(encoder.width, classes, settings)
    load_weights(path, encoder=encoder, classifier=head)
    return encoder, head


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


class Classifiers(nn.Module):
    """Several classifiers on the features of one forward pass."""

    def __init__(self, encoder: nn.Module, classifiers: nn.ModuleDict) -> None:
        super().__init__()
        self.encoder, self.classifiers = encoder, classifiers

    def forward(self, views: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features [N, width] and every classifier's float32 logits [N, classifiers, classes]."""
        features = self.encoder(views)
        logits = [classifier(features).float() for classifier in self.classifiers.values()]
        return features, torch.stack(logits, dim=1)
