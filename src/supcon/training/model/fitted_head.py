"""A classifier that begins fitted to the features of the training rows; bundles, which train nothing, leave it out."""

from typing import cast

import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn
from torch.nn import functional as F

from supcon.arrays import Labels
from supcon.training.model.classifier import CosineLinear

_FLOOR = 0.1  # smallest deviation, in root mean squares of all features: one that hardly varies gets no huge weight


@torch.no_grad()
def fit_head(head: nn.Module, features: Tensor, labels: Labels, shift: Tensor) -> None:
    """Let a `classifier_head` of mode linear or full begin fitted to `features` [rows, width] with `labels` [rows].

    A linear one by logistic regression on standardised features, its logits plus `shift` [classes]; a cosine one by
    the class means of unit-length features.
    """
    layer = cast(nn.Sequential, head)[1]
    if isinstance(layer, CosineLinear):
        sums = torch.zeros(layer.weight.shape).index_add_(
            0, torch.from_numpy(labels), F.normalize(features.float(), dim=1)
        )
        layer.weight.copy_(F.normalize(sums, dim=1))
        return
    assert isinstance(layer, nn.Linear)
    deviation, mean = torch.std_mean(features.double(), dim=0, correction=0)
    deviation = deviation.clamp(min=max(1e-12, _FLOOR * features.double().square().mean().sqrt().item()))
    standardised = ((features.double() - mean) / deviation).numpy()
    fitted = LogisticRegression(max_iter=1000).fit(standardised, labels)
    weight, bias = torch.from_numpy(fitted.coef_), torch.from_numpy(fitted.intercept_)
    if len(fitted.classes_) == 2:  # scikit-learn keeps the difference of both
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    weight = weight / deviation
    layer.weight.zero_()
    layer.bias.fill_(-20.0)  # a class without rows
    present = torch.from_numpy(fitted.classes_)
    layer.weight[present] = weight.float()
    layer.bias[present] = (bias - weight @ mean).float()
    layer.bias.add_(shift)
