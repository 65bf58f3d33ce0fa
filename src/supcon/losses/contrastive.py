"""The family of contrastive losses, exact and in linear memory.

Notation: z_i are the embeddings of the N items of a batch, of unit length unless `normalize` is off, s_ij = z_i . z_j /
temperature, A(i) holds the memory and all items but i, P(i) the members of A(i) with i's label, N(i) its other members,
and LSE_X = log sum_{x in X} exp s_ix. An item i is an anchor, P(i) are its positives, N(i) its negatives.
"""

from numbers import Integral, Real
from typing import Literal, TypedDict, get_args

import torch
from torch import Tensor, nn

from supcon.losses.batch import SortedBatch, sort_batch
from supcon.losses.full_float32 import full_float32
from supcon.losses.logsumexp import row_logsumexp
from supcon.losses.positives import mean_positive_softplus, positive_logsumexp

Form = Literal["out", "in", "sincere", "eps_infonce", "eps_supcon", "balanced"]
Reduction = Literal["mean", "sum"]
LABEL_TYPES = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8)
LARGEST = 1e12  # largest value of an option, and of 1 / temperature: their products stay inside float32


class FormOptions(TypedDict, total=False):
    """The options of `contrastive_loss` that also determine its bounds."""

    form: Form
    temperature: float
    epsilon: float
    hardness: float
    normalize: bool


class LossOptions(FormOptions, total=False):
    """All options of `contrastive_loss`."""

    memory: Tensor | None
    memory_labels: Tensor | None
    scale_by_temperature: bool
    reduction: Reduction


def contrastive_loss(
    embeddings: Tensor,
    labels: Tensor,
    *,
    form: Form = "out",
    temperature: float = 0.1,
    epsilon: float = 0.0,
    hardness: float = 0.0,
    normalize: bool = True,
    memory: Tensor | None = None,
    memory_labels: Tensor | None = None,
    scale_by_temperature: bool = False,
    reduction: Reduction = "mean",
) -> Tensor:
    """Return the mean loss of the anchors that have positives, a scalar; with `reduction` "sum" their sum.

    `embeddings` [N, D] are brought to unit length here; `labels` [N] are integers from 0, best left on the CPU.
    `memory` [M, D] with `memory_labels` [M] adds items to A(i), P(i) and N(i) that are no anchors and have no gradient
    (He et al. 2020). With H = LSE_N the loss of an anchor is

    - `out`: -mean_p (s_ip - LSE_A) (Khosla et al. 2020, eq. 2)
    - `in`: -(LSE_P - log|P| - LSE_A) (eq. 3); never above `out` (Jensen)
    - `sincere`: -mean_p (s_ip - log(exp s_ip + exp H)): no repulsion within a class (Feeney & Hughes 2023)
    - `eps_infonce`: -mean_p (s_ip - log(exp(s_ip - epsilon) + exp H)) (Barbano et al. 2023)
    - `eps_supcon`: -mean_p (s_ip - log(sum_q exp(s_iq - epsilon) + exp H)) (Barbano et al. 2023)
    - `balanced`: -mean_p (s_ip - log sum_c mean_{k in c} exp s_ik) (Zhu et al. 2022); `BalancedContrast` adds
      prototypes

    `hardness` b > 0 weighs the negatives by w_n = |N| exp(b s_in) / sum_m exp(b s_im) (Robinson et al. 2021), in every
    form but `balanced`; the weights have gradients. `scale_by_temperature` multiplies the loss by the temperature, so
    that a search over temperatures does not search over learning rates as well.

    Without `normalize`, embeddings and memory enter as they are: similarities are plain dot products / temperature. In
    float32 these must stay below 1e38, and about a millionth of the greatest |z|^2 / temperature is rounding.

    Some write the loss as the sum over anchors of log(sum_A exp s_ia / sum_P exp s_ip). It is `in` with `reduction`
    "sum", less the constant sum_i log|P(i)|: the gradient is the same.

    Where no item has a positive, the loss is 0 with gradient 0. It is computed in float32 (float64 for float64
    embeddings), even within autocast, and without an N x N tensor. Raises `ValueError` for arguments that do not fit.
    """
    check_items("embeddings", embeddings, "labels", labels)
    check_options(form, temperature, epsilon, hardness, normalize)
    check_choice("reduction", reduction, get_args(Reduction))
    if (memory is None) != (memory_labels is None):
        raise ValueError("memory and memory_labels go together: give both or neither")
    extra, extra_labels = embeddings[:0], labels[:0]
    if memory is not None and memory_labels is not None:
        check_items("memory", memory, "memory_labels", memory_labels)
        if memory.shape[1] != embeddings.shape[1]:
            raise ValueError(f"memory must be [M, {embeddings.shape[1]}] like the embeddings, got {list(memory.shape)}")
        extra, extra_labels = memory.detach(), memory_labels
    with full_float32(embeddings.device):
        batch = sort_batch(embeddings, labels, extra, extra_labels, normalize)
        loss = reduce_valid(batch, anchor_losses(batch, form, temperature, epsilon, hardness), reduction)
        return loss * temperature if scale_by_temperature else loss


class BalancedContrast(nn.Module):
    """The form `balanced` with class prototypes (Zhu et al. 2022, arXiv 2207.09052).

    The prototype of class c is one more member of B_c, and one more positive of the anchors of class c; so every anchor
    has a positive. The paper trains with logit-adjusted cross-entropy + 0.35 x this loss at temperature 0.07.
    """

    def __init__(self, classes: int, dim: int, temperature: float = 0.1, *, normalize: bool = True) -> None:
        """Draw `prototypes`, a parameter [classes, dim] that begins at unit length.

        `normalize` brings embeddings and prototypes to unit length in the loss; without it they enter as they are.
        Raises `ValueError` for arguments that do not fit.
        """
        super().__init__()
        for name, count in (("classes", classes), ("dim", dim)):
            if not isinstance(count, Integral) or count < 1:
                raise ValueError(f"{name} must be a whole number above 0, got {count!r}")
        check_options("balanced", temperature, 0.0, 0.0, normalize)
        self.temperature, self.normalize = temperature, normalize
        self.prototypes = nn.Parameter(nn.functional.normalize(torch.randn(classes, dim), dim=1))

    def forward(self, embeddings: Tensor, labels: Tensor, reduction: Reduction = "mean") -> Tensor:
        """Return the mean loss of `embeddings` [N, D] with `labels` [N] from 0 to classes - 1, or its sum; a scalar.

        Raises `ValueError` for arguments that do not fit.
        """
        check_items("embeddings", embeddings, "labels", labels)
        check_choice("reduction", reduction, get_args(Reduction))
        classes, dim = self.prototypes.shape
        if embeddings.shape[1] != dim or (len(labels) and labels.max() >= classes):
            raise ValueError(
                f"the prototypes are {classes} classes x {dim}, got embeddings {list(embeddings.shape)} with labels up"
                f" to {int(labels.max()) if len(labels) else 0}"
            )
        with full_float32(embeddings.device):
            names = torch.arange(classes, device=labels.device)
            batch = sort_batch(embeddings, labels, self.prototypes, names, self.normalize)
            return reduce_valid(batch, anchor_losses(batch, "balanced", self.temperature, 0.0, 0.0), reduction)


def anchor_losses(batch: SortedBatch, form: Form, temperature: float, epsilon: float, hardness: float) -> Tensor:
    """Return each anchor's loss, [N]. Of an anchor without positives it is a finite number without meaning."""
    if form == "balanced":
        return _balanced(batch, temperature)
    if form in ("sincere", "eps_infonce"):
        shift = epsilon if form == "eps_infonce" else 0.0
        threshold = _negatives(batch, temperature, hardness) + shift
        return mean_positive_softplus(batch, temperature, threshold) - shift
    if form == "in":  # LSE_A - LSE_P would lose all digits once classes separate, log(1 + exp(H - LSE_P)) does not
        excess = _negatives(batch, temperature, hardness) - positive_logsumexp(batch, temperature)
        return torch.logaddexp(excess, torch.zeros_like(excess)) + _log(batch.positives, batch)
    if form not in ("out", "eps_supcon"):
        raise NotImplementedError(f"the form {form} has no formula here")
    pull = batch.mean_positive_similarity() / temperature
    shift = epsilon if form == "eps_supcon" else 0.0
    if hardness == 0 and shift == 0:
        return row_logsumexp(batch, 1 / temperature) - pull
    own_class = positive_logsumexp(batch, temperature) - shift
    return torch.logaddexp(own_class, _negatives(batch, temperature, hardness)) - pull


def reduce_valid(batch: SortedBatch, losses: Tensor, reduction: Reduction) -> Tensor:
    """Return the mean or sum of `losses` [N] over the anchors that have positives; 0 when there are none."""
    valid = batch.positives > 0
    total = torch.where(valid, losses, 0.0).sum()
    return total if reduction == "sum" else total / valid.sum().clamp(min=1)


def _negatives(batch: SortedBatch, temperature: float, hardness: float) -> Tensor:
    """Return log sum_n w_n exp s_in, [N]; -inf where there are no negatives.

    For hardness b this is log|N| + LSE_N((1 + b) s) - LSE_N(b s), and LSE_N for b = 0.
    """
    result = row_logsumexp(batch, (1 + hardness) / temperature, negatives_only=True)
    if hardness > 0:
        weights = row_logsumexp(batch, hardness / temperature, negatives_only=True)
        result = result - weights + _log(batch.negatives, batch)
    return torch.where(batch.negatives > 0, result, -torch.inf)


def _balanced(batch: SortedBatch, temperature: float) -> Tensor:
    """Return -mean_p (s_ip - log sum_c mean_{k in B_c} exp s_ik), [N], where B_c are the members of class c in A(i)."""
    share = batch.class_sizes().clamp(min=1).to(batch.z.dtype).reciprocal()
    weights = (share[batch.classes], share[batch.extra_classes])
    others = row_logsumexp(batch, 1 / temperature, negatives_only=True, weights=weights)
    others = torch.where(batch.negatives > 0, others, -torch.inf)
    own_class = positive_logsumexp(batch, temperature) - _log(batch.positives, batch)
    return torch.logaddexp(own_class, others) - batch.mean_positive_similarity() / temperature


def _log(counts: Tensor, batch: SortedBatch) -> Tensor:
    """Return the logarithm of `counts`, 0 for a count of 0, in the precision of the embeddings."""
    return counts.clamp(min=1).to(batch.z.dtype).log()


def check_items(name: str, items: Tensor, labels_name: str, labels: Tensor) -> None:
    """Raise `ValueError` unless `items` are floating point [N, D] and `labels` integers [N] from 0."""
    if not isinstance(items, Tensor) or items.ndim != 2 or items.shape[1] == 0 or not items.is_floating_point():
        raise ValueError(f"{name} must be a floating point tensor [N, D], D above 0, got {_described(items)}")
    check_labels(labels_name, labels)
    if len(labels) != len(items):
        raise ValueError(f"{labels_name} must be [{len(items)}], one for each of {name}, got {list(labels.shape)}")


def check_labels(name: str, labels: Tensor) -> None:
    """Raise `ValueError` unless `labels` are integers [N] from 0, of a type that torch can sort and count."""
    if not isinstance(labels, Tensor) or labels.ndim != 1 or labels.dtype not in LABEL_TYPES:
        types = ", ".join(str(dtype).removeprefix("torch.") for dtype in LABEL_TYPES)
        raise ValueError(f"{name} must be an integer tensor [N] ({types}), got {_described(labels)}")
    if len(labels) and labels.min() < 0:
        raise ValueError(f"{name} must not be negative, got {labels.min().item()}")


def check_options(form: str, temperature: float, epsilon: float, hardness: float, normalize: bool) -> None:
    """Raise `ValueError` for options that are out of range or do not go together."""
    check_choice("form", form, get_args(Form))
    if not isinstance(normalize, bool):
        raise ValueError(f"normalize must be True or False, got {normalize!r}")
    for name, value, least in (
        ("temperature", temperature, 1 / LARGEST),
        ("epsilon", epsilon, 0),
        ("hardness", hardness, 0),
    ):
        if not isinstance(value, Real) or not least <= value <= LARGEST:
            raise ValueError(f"{name} must be a number from {least:g} to {LARGEST:g}, got {value!r}")
    if epsilon > 0 and not form.startswith("eps_"):
        raise ValueError(f"epsilon belongs to the forms eps_infonce and eps_supcon: got {epsilon} with form {form!r}")
    if hardness > 0 and form == "balanced":
        raise ValueError(f"form 'balanced' takes no hardness, got {hardness}: use 0 or another form")


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise `ValueError` unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _described(value: object) -> str:
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
