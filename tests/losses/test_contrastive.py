"""The losses against their definitions, and where batches are odd."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive_loss, logsumexp, positives
from tests.losses.reference import FORMS, by_loops

Options = dict[str, Any]
# every form alone, with hardness where it takes one, and the epsilon forms with a margin
VARIANTS: list[Options] = [
    *({"form": form} for form in FORMS),
    *({"form": form, "hardness": 1.0} for form in FORMS if form != "balanced"),
    *({"form": form, "epsilon": 0.7} for form in ("eps_infonce", "eps_supcon")),
    {"form": "out", "hardness": 5.0},
    {"form": "eps_supcon", "epsilon": 0.25, "hardness": 0.5},
]


def name_of(variant: Options) -> str:
    return "-".join(str(value) for value in variant.values())


each_variant = pytest.mark.parametrize("variant", VARIANTS, ids=name_of)


def batch(seed: int, items: int = 14, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(items, 6, generator=generator, dtype=torch.float64)
    return z.requires_grad_(), torch.randint(classes, (items,), generator=generator)


def memory_of(seed: int) -> Options:
    keys, labels = batch(seed + 100, items=9, classes=6)  # classes 4 and 5 are in the memory alone
    return {"memory": keys.detach(), "memory_labels": labels}


@each_variant
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("remembers", [False, True], ids=["batch", "memory"])
@pytest.mark.parametrize("seed", [0, 1])
def test_value_and_gradient_are_those_of_the_definition(
    variant: Options, temperature: float, remembers: bool, seed: int
) -> None:
    z, labels = batch(seed)
    options = {**variant, "temperature": temperature, **(memory_of(seed) if remembers else {})}
    expected = by_loops(z, labels, **options)
    (wanted,) = torch.autograd.grad(expected, z)
    found = contrastive_loss(z, labels, **options)
    (gradient,) = torch.autograd.grad(found, z)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)
    single = z.detach().float().requires_grad_()
    loss = contrastive_loss(single, labels, **options)
    (gradient,) = torch.autograd.grad(loss, single)
    relative = 1e-5 if temperature >= 0.1 else 2e-4
    assert loss.item() == pytest.approx(expected.item(), rel=relative)
    assert (gradient - wanted).norm() <= relative * wanted.norm()


@each_variant
def test_gradcheck_passes(variant: Options) -> None:
    z, labels = batch(3, items=8)
    assert torch.autograd.gradcheck(lambda x: contrastive_loss(x, labels, **variant), z)


@each_variant
@pytest.mark.parametrize("temperature", [0.01, 0.2])  # running sums, direct sums
def test_any_tile_size_gives_the_same_value_and_gradient(
    variant: Options, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    z, labels = batch(4, items=23)
    options = {**variant, "temperature": temperature, **memory_of(4)}
    results = []
    for rows, columns, strip in ((512, 2048, 256), (5, 7, 3), (1, 1, 1), (30, 4, 9)):
        monkeypatch.setitem(logsumexp.TILES, "cpu", (rows, columns))
        monkeypatch.setitem(positives.TILES, "cpu", (strip, columns))
        loss = contrastive_loss(z, labels, **options)
        results.append((loss, *torch.autograd.grad(loss, z)))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


@each_variant
@pytest.mark.parametrize("remembers", [False, True], ids=["batch", "memory"])
@pytest.mark.parametrize("classes", [1, 50])
def test_no_tensor_grows_with_the_square_of_the_batch(variant: Options, remembers: bool, classes: int) -> None:
    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, Tensor):
                    self.size = max(self.size, tensor.numel())
            return result

    items = 3000
    z, labels = torch.randn(items, 8, requires_grad=True), torch.arange(items) % classes
    memory: Options = {"memory": torch.randn(items, 8), "memory_labels": labels} if remembers else {}
    with Largest() as largest:
        contrastive_loss(z, labels, **variant, **memory).backward()
    assert largest.size <= 512 * 2048 < items**2 / 5


@each_variant
@pytest.mark.parametrize("remembers", [False, True], ids=["batch", "memory"])
@pytest.mark.parametrize("classes", [1, 50])
def test_what_is_kept_for_backward_doubles_with_the_batch(variant: Options, remembers: bool, classes: int) -> None:
    def kept(items: int) -> int:
        storages = {}  # with their tensors, so that no address comes twice

        def keep(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor
            return tensor

        z, labels = torch.randn(items, 8, requires_grad=True), torch.arange(items) % classes
        memory: Options = {"memory": torch.randn(items, 8), "memory_labels": labels} if remembers else {}
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            contrastive_loss(z, labels, **variant, **memory)
        return sum(tensor.untyped_storage().nbytes() for tensor in storages.values())

    assert kept(2000) < 2.1 * kept(1000)


@each_variant
def test_order_and_scale_of_the_batch_change_nothing(variant: Options) -> None:
    z, labels = batch(5)
    order = torch.randperm(len(z))
    loss = contrastive_loss(z, labels, **variant)
    torch.testing.assert_close(contrastive_loss(z[order], labels[order], **variant), loss)
    torch.testing.assert_close(contrastive_loss(7.5 * z, labels, **variant), loss)
    torch.testing.assert_close(contrastive_loss(z, labels * 1000 + 7, **variant), loss)


def test_the_forms_meet_where_their_options_vanish() -> None:
    z, labels = batch(6)
    same = [
        ({"form": "eps_supcon", "epsilon": 0.0}, {"form": "out"}),
        ({"form": "eps_infonce", "epsilon": 0.0}, {"form": "sincere"}),
        *(({"form": form, "hardness": 1e-12}, {"form": form}) for form in FORMS if form != "balanced"),
        *(({"form": form, "epsilon": 1e-12}, {"form": form}) for form in ("eps_infonce", "eps_supcon")),
    ]
    for left, right in same:
        torch.testing.assert_close(contrastive_loss(z, labels, **left), contrastive_loss(z, labels, **right))  # type: ignore[arg-type]


def test_in_is_the_logarithm_of_a_ratio_of_sums_plus_that_of_the_positives() -> None:
    z, labels = batch(7)
    unit = torch.nn.functional.normalize(z, dim=1)
    exponentials = (unit @ unit.T / 0.1).exp().fill_diagonal_(0)
    same = (labels[:, None] == labels).fill_diagonal_(False)
    valid = same.any(dim=1)
    ratio = (exponentials.sum(dim=1) / (exponentials * same).sum(dim=1))[valid].log()
    expected = ratio.mean() + same.sum(dim=1)[valid].double().log().mean()
    torch.testing.assert_close(contrastive_loss(z, labels, form="in"), expected)


def test_equal_embeddings_give_the_collapse_value_and_in_is_never_above_out() -> None:
    z, labels = batch(6, items=16, classes=3)
    same = torch.ones(16, 4)
    for form in ("out", "in"):
        assert contrastive_loss(same, labels, form=form).item() == pytest.approx(math.log(15))
    assert contrastive_loss(z, labels, form="in") < contrastive_loss(z, labels, form="out")


def test_instance_labels_make_simclr() -> None:
    views = torch.randn(2, 5, 4, dtype=torch.float64)
    z, instances = views.flatten(0, 1), torch.arange(5).repeat(2)
    unit = torch.nn.functional.normalize(z, dim=1)
    logits = (unit @ unit.T / 0.5).fill_diagonal_(-torch.inf)
    other_view = (torch.arange(10) + 5) % 10
    expected = torch.nn.functional.cross_entropy(logits, other_view)  # NT-Xent
    torch.testing.assert_close(contrastive_loss(z, instances, temperature=0.5), expected)


def test_one_positive_and_one_negative_make_the_triplet_limit() -> None:
    z = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    unit = torch.nn.functional.normalize(z, dim=1)
    s = unit @ unit.T / 0.2
    expected = (torch.nn.functional.softplus(s[0, 2] - s[0, 1]) + torch.nn.functional.softplus(s[1, 2] - s[1, 0])) / 2
    torch.testing.assert_close(contrastive_loss(z, labels, temperature=0.2), expected)


@each_variant
@pytest.mark.parametrize("temperature", [0.01, 0.001])
def test_extreme_batches_are_finite_and_right_at_a_small_temperature(variant: Options, temperature: float) -> None:
    one = torch.randn(1, 4)
    cases = {
        "duplicates": (one.repeat(6, 1), torch.tensor([0, 0, 0, 1, 1, 1])),
        "a single class": (torch.randn(6, 4), torch.zeros(6, dtype=torch.long)),
        "singletons": (torch.randn(6, 4), torch.arange(6)),
        "one item": (one, torch.tensor([3])),
        "antipodal pairs": (torch.cat([one, -one, one, -one]), torch.tensor([0, 0, 1, 1])),
        "none": (one[:0], torch.tensor([], dtype=torch.long)),
    }
    for name, (z, labels) in cases.items():
        z = z.clone().requires_grad_()
        loss = contrastive_loss(z, labels, temperature=temperature, **variant)
        loss.backward()
        assert torch.isfinite(loss), name
        assert z.grad is not None
        assert torch.isfinite(z.grad).all(), name
        if temperature == 0.01:  # exp(1000) is too much for the loops
            expected = by_loops(z.detach().double(), labels, temperature=temperature, **variant)
            if torch.isfinite(expected):
                assert loss.item() == pytest.approx(expected.item(), rel=2e-4, abs=1e-3), name


@pytest.mark.parametrize("temperature", [0.01, 0.1])
def test_orthogonal_embeddings_of_one_class_give_log_7(temperature: float) -> None:
    labels = torch.zeros(8, dtype=torch.long)
    for form in ("out", "in", "eps_supcon"):
        loss = contrastive_loss(torch.eye(8), labels, form=form, temperature=temperature)
        assert loss.item() == pytest.approx(math.log(7))


@each_variant
def test_without_positives_loss_and_gradient_are_zero(variant: Options) -> None:
    z = torch.randn(5, 3, requires_grad=True)
    loss = contrastive_loss(z, torch.arange(5), **variant)
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None
    assert z.grad.abs().max() == 0


@each_variant
def test_autocast_does_not_lower_the_precision(variant: Options) -> None:
    z, labels = torch.randn(64, 16, requires_grad=True), torch.arange(64) % 8
    plain = contrastive_loss(z, labels, temperature=0.05, **variant)
    (wanted,) = torch.autograd.grad(plain, z)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(z, labels, temperature=0.05, **variant)
        (gradient,) = torch.autograd.grad(loss, z)
    torch.testing.assert_close(loss, plain)
    torch.testing.assert_close(gradient, wanted)


def test_half_precision_embeddings_are_widened() -> None:
    z, labels = torch.randn(32, 8), torch.arange(32) % 4
    for dtype in (torch.bfloat16, torch.float16):
        loss = contrastive_loss(z.to(dtype), labels)
        assert loss.dtype == torch.float32
        torch.testing.assert_close(loss, contrastive_loss(z.to(dtype).float(), labels))


def test_no_gradient_reaches_the_memory() -> None:
    z, labels = batch(8)
    keys = torch.randn(5, 6, dtype=torch.float64, requires_grad=True)
    contrastive_loss(z, labels, memory=keys, memory_labels=torch.arange(5)).backward()
    assert keys.grad is None


def test_scaling_by_the_temperature_multiplies_the_loss() -> None:
    z, labels = batch(9)
    plain = contrastive_loss(z, labels, temperature=0.3)
    torch.testing.assert_close(contrastive_loss(z, labels, temperature=0.3, scale_by_temperature=True), 0.3 * plain)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embeddings": torch.zeros(4)}, r"embeddings must be floating point \[N, D\], got torch.float32 \[4\]"),
        ({"embeddings": torch.zeros(4, 2, dtype=torch.long)}, "embeddings must be"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, r"labels must be integers \[4\]"),
        ({"labels": torch.zeros(4)}, "labels must be"),
        ({"labels": torch.tensor([0, 1, -1, 1])}, "labels must not be negative, got -1"),
        ({"temperature": 0.0}, "temperature must be above 0, got 0.0"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"temperature": math.nan}, "temperature must be"),
        ({"form": "sideways"}, "form must be one of out, in, .* got 'sideways'"),
        ({"epsilon": -0.1, "form": "eps_supcon"}, "epsilon must be 0 or more"),
        ({"epsilon": 0.1}, "epsilon belongs to the forms"),
        ({"hardness": -1.0}, "hardness must be 0 or more"),
        ({"hardness": 1.0, "form": "balanced"}, "'balanced' takes no hardness"),
        ({"memory": torch.randn(3, 2)}, "give both or neither"),
        ({"memory_labels": torch.zeros(3, dtype=torch.long)}, "give both or neither"),
        ({"memory": torch.randn(3, 5), "memory_labels": torch.arange(3)}, r"memory must be \[M, 2\]"),
        ({"memory": torch.randn(3, 2), "memory_labels": torch.arange(2)}, "memory_labels must be"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], said: str) -> None:
    arguments = {"embeddings": torch.randn(4, 2), "labels": torch.zeros(4, dtype=torch.long), **change}
    with pytest.raises(ValueError, match=said):
        contrastive_loss(**arguments)  # type: ignore[arg-type]
