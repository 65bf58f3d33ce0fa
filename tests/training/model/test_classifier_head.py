"""The classifiers that are trained: a linear layer, or cosines; and a head that begins fitted."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from supcon.settings.settings import ModelSettings, Settings
from supcon.settings.training import FinetuneSettings
from supcon.training.model.classifier import CosineLinear, classifier_head
from supcon.training.model.fitted_head import fit_head

LABELS = np.repeat([0, 1, 3], [60, 30, 10])  # no row of class 2


def head_of(**finetune: str) -> nn.Sequential:
    torch.manual_seed(0)
    settings = Settings(model=ModelSettings(dropout=0.2), finetune=FinetuneSettings(**finetune))  # type: ignore[arg-type]
    head = classifier_head(5, 4, settings)
    assert isinstance(head, nn.Sequential)
    return head.eval()


def features() -> torch.Tensor:
    draw = torch.Generator().manual_seed(0)
    centres = 2 * torch.randn(4, 5, generator=draw)
    scale = torch.tensor([1.0, 10.0, 0.3, 1.0, 1.0])  # of features that differ in size
    return (centres[torch.from_numpy(LABELS)] + torch.randn(len(LABELS), 5, generator=draw)) * scale


def test_a_cosine_classifier_sees_directions_alone_and_learns_its_scale() -> None:
    head = head_of(classifier="cosine")
    x = features()
    torch.testing.assert_close(head(x), head(x * torch.rand(len(x), 1).add(0.5)))
    layer = head[1]
    assert isinstance(layer, CosineLinear)
    assert head(x).abs().max() <= layer.log_scale.exp() * (1 + 5 * torch.finfo(torch.float32).eps)
    head(x).logsumexp(dim=1).sum().backward()
    assert layer.log_scale.grad is not None
    assert layer.log_scale.grad.abs() > 0


def test_a_fitted_linear_head_is_the_logistic_regression_of_the_features_plus_the_shift() -> None:
    head, x, shift = head_of(), features(), torch.tensor([0.5, -1.0, 0.0, 2.0])
    fit_head(head, x, LABELS, shift)
    with torch.no_grad():
        logits = head(x) - shift
    assert (logits.argmax(dim=1).numpy() == LABELS).mean() > 0.95
    # what logistic regression makes equal where its bias is not penalised: mean probabilities and class shares
    shares = torch.from_numpy(np.bincount(LABELS, minlength=4) / len(LABELS)).float()
    torch.testing.assert_close(logits.softmax(dim=1).mean(dim=0), shares, atol=1e-3, rtol=0)


def test_a_feature_that_hardly_varies_gets_no_huge_weight() -> None:
    x, steady = features(), 1 + 1e-4 * torch.from_numpy(LABELS)[:, None]  # which would tell the classes
    x[:, :1] = steady
    head = head_of()
    fit_head(head, x, LABELS, torch.zeros(4))
    layer = head[1]
    assert isinstance(layer, nn.Linear)
    assert layer.weight[[0, 1, 3], 0].abs().max() < 10 * layer.weight[[0, 1, 3], 1:].abs().max()


def test_two_classes_have_a_logit_each() -> None:
    head = classifier_head(5, 2, Settings())
    labels = np.minimum(LABELS, 1)
    fit_head(head, features(), labels, torch.zeros(2))
    with torch.no_grad():
        assert (head.eval()(features()).argmax(dim=1).numpy() == labels).mean() > 0.95


def test_a_fitted_cosine_head_has_the_class_means_as_weights() -> None:
    head, x = head_of(classifier="cosine"), features()
    fit_head(head, x, LABELS, torch.zeros(4))
    layer = head[1]
    assert isinstance(layer, CosineLinear)
    for label in (0, 1, 3):
        mean = F.normalize(x[torch.from_numpy(label == LABELS)], dim=1).mean(dim=0)
        torch.testing.assert_close(layer.weight[label].detach(), F.normalize(mean, dim=0))


@pytest.mark.parametrize("mode", ["linear", "full", "mlp"])
def test_only_mode_mlp_has_a_hidden_layer(mode: str) -> None:
    assert sum(isinstance(layer, nn.Linear) for layer in head_of(mode=mode)) == (2 if mode == "mlp" else 1)
