"""The parts of a model that only the contrastive loss needs: the projection head, and learnable prototypes."""

from torch import nn

from supcon.losses import BalancedContrast
from supcon.settings.training import ContrastSettings


def contrast_parts(width: int, classes: int, settings: ContrastSettings) -> dict[str, nn.Module]:
    """Return the parts by name: `projection`, and `prototypes` where the settings ask for them."""
    parts: dict[str, nn.Module] = {"projection": projection_head(width, settings)}
    if settings.prototypes:
        dim = width if settings.projection == "none" else settings.projection_dim
        parts["prototypes"] = BalancedContrast(classes, dim, settings.temperature, normalize=settings.normalize)
    return parts


def projection_head(width: int, settings: ContrastSettings) -> nn.Module:
    """Return the projection head that `settings` ask for, [N, width] -> [N, projection_dim] ([N, width] for `none`).

    Khosla et al. 2020 use an MLP of two layers; Chen et al. 2020 (arXiv 2006.10029) use three, with batch norm. The
    loss brings the output to unit length, unless `normalize` is off.
    """
    if settings.projection == "none":
        return nn.Identity()
    if settings.projection == "linear":
        return nn.Linear(width, settings.projection_dim)
    hidden, normalised = settings.projection_hidden, settings.projection_norm
    layers: list[nn.Module] = []
    for _ in range(settings.projection_layers - 1):
        linear = nn.Linear(width, hidden, bias=not normalised)  # batch norm has a bias of its own
        layers += [linear, *[nn.BatchNorm1d(hidden)] * normalised, nn.ReLU(inplace=True)]
        width = hidden
    return nn.Sequential(*layers, nn.Linear(width, settings.projection_dim))
