"""Identities of docs and paper that the losses are held to."""

import math

import pytest
import torch
from torch import Tensor

from supcon.losses import contrastive, contrastive_bounds, contrastive_loss


def by_loops(z: Tensor, labels: Tensor, form: str, temperature: float) -> Tensor:
    """The definitions, written as loops over anchors and their sets."""
    z = torch.nn.functional.normalize(z, dim=1)
    losses = []
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        positives = [p for p in others if labels[p] == labels[i]]
        if not positives:
            continue
        s = {a: z[i] @ z[a] / temperature for a in others}
        log_all = torch.logsumexp(torch.stack([s[a] for a in others]), 0)
        if form == "out":
            losses.append(-torch.stack([s[p] - log_all for p in positives]).mean())
        else:
            log_positive = torch.logsumexp(torch.stack([s[p] for p in positives]), 0)
            losses.append(-(log_positive - math.log(len(positives)) - log_all))
    return torch.stack(losses).mean() if losses else z.sum() * 0


def batch(seed: int, items: int = 14, classes: int = 4) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    z = torch.randn(items, 6, generator=generator, dtype=torch.float64)
    return z.requires_grad_(), torch.randint(classes, (items,), generator=generator)


@pytest.mark.parametrize("form", ["out", "in"])
@pytest.mark.parametrize("temperature", [0.05, 0.1, 1.0])
@pytest.mark.parametrize("seed", [0, 1])
def test_value_and_gradient_are_those_of_the_definition(form: str, temperature: float, seed: int) -> None:
    z, labels = batch(seed)
    expected = by_loops(z, labels, form, temperature)
    (wanted,) = torch.autograd.grad(expected, z)
    found = contrastive_loss(z, labels, form=form, temperature=temperature)  # type: ignore[arg-type]
    (gradient,) = torch.autograd.grad(found, z)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradient, wanted)
    single = z.detach().float().requires_grad_()
    loss = contrastive_loss(single, labels, form=form, temperature=temperature)  # type: ignore[arg-type]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5 if temperature >= 0.1 else 2e-4)


@pytest.mark.parametrize("form", ["out", "in"])
def test_gradcheck_passes(form: str) -> None:
    z, labels = batch(3, items=8)
    assert torch.autograd.gradcheck(lambda x: contrastive_loss(x, labels, form=form), z)  # type: ignore[arg-type]


@pytest.mark.parametrize("form", ["out", "in"])
def test_any_tile_size_gives_the_same_value_and_gradient(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    z, labels = batch(4, items=23)
    results = []
    for rows, columns in ((512, 2048), (5, 7), (1, 1), (30, 4)):
        monkeypatch.setattr(contrastive, "_TILE_ROWS", rows)
        monkeypatch.setattr(contrastive, "_TILE_COLUMNS", columns)
        loss = contrastive_loss(z, labels, form=form)  # type: ignore[arg-type]
        results.append((loss, *torch.autograd.grad(loss, z)))
    for loss, gradient in results[1:]:
        torch.testing.assert_close(loss, results[0][0])
        torch.testing.assert_close(gradient, results[0][1])


def test_no_tensor_grows_with_the_square_of_the_batch() -> None:
    class Largest(torch.utils._python_dispatch.TorchDispatchMode):
        size = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
            result = func(*args, **(kwargs or {}))
            for tensor in result if isinstance(result, tuple) else (result,):
                if isinstance(tensor, Tensor):
                    self.size = max(self.size, tensor.numel())
            return result

    items = 6000
    z, labels = torch.randn(items, 8, requires_grad=True), torch.arange(items) % 50
    for form in ("out", "in"):
        with Largest() as largest:
            contrastive_loss(z, labels, form=form).backward()
        assert largest.size <= 512 * 2048 < items**2 / 30


@pytest.mark.parametrize("form", ["out", "in"])
def test_order_and_scale_of_the_batch_change_nothing(form: str) -> None:
    z, labels = batch(5)
    order = torch.randperm(len(z))
    loss = contrastive_loss(z, labels, form=form)  # type: ignore[arg-type]
    torch.testing.assert_close(contrastive_loss(z[order], labels[order], form=form), loss)  # type: ignore[arg-type]
    torch.testing.assert_close(contrastive_loss(7.5 * z, labels, form=form), loss)  # type: ignore[arg-type]


def test_equal_embeddings_give_the_collapse_value_and_in_is_never_above_out() -> None:
    z, labels = batch(6, items=16, classes=3)
    same = torch.ones(16, 4)
    for form in ("out", "in"):
        assert contrastive_loss(same, labels, form=form).item() == pytest.approx(math.log(15))
    assert contrastive_loss(z, labels, form="in") <= contrastive_loss(z, labels, form="out")


def test_one_positive_and_one_negative_make_the_triplet_limit() -> None:
    z = torch.randn(3, 5, dtype=torch.float64)
    labels = torch.tensor([0, 0, 1])
    unit = torch.nn.functional.normalize(z, dim=1)
    s = unit @ unit.T / 0.2
    expected = (torch.nn.functional.softplus(s[0, 2] - s[0, 1]) + torch.nn.functional.softplus(s[1, 2] - s[1, 0])) / 2
    torch.testing.assert_close(contrastive_loss(z, labels, temperature=0.2), expected)


@pytest.mark.parametrize("form", ["out", "in"])
def test_extreme_batches_are_finite_and_right_at_a_small_temperature(form: str) -> None:
    one = torch.randn(1, 4)
    cases = {
        "duplicates": (one.repeat(6, 1), torch.tensor([0, 0, 0, 1, 1, 1])),
        "a single class": (torch.randn(6, 4), torch.zeros(6, dtype=torch.long)),
        "singletons": (torch.randn(6, 4), torch.arange(6)),
        "one item": (one, torch.tensor([3])),
        "antipodal pairs": (torch.cat([one, -one, one, -one]), torch.tensor([0, 0, 1, 1])),
    }
    for name, (z, labels) in cases.items():
        z = z.clone().requires_grad_()
        loss = contrastive_loss(z, labels, form=form, temperature=0.01)  # type: ignore[arg-type]
        loss.backward()
        assert torch.isfinite(loss), name
        assert z.grad is not None
        assert torch.isfinite(z.grad).all(), name
        expected = by_loops(z.detach().double(), labels, form, 0.01)
        assert loss.item() == pytest.approx(expected.item(), rel=2e-4, abs=1e-4), name
    eye = torch.eye(8)
    assert contrastive_loss(eye, torch.zeros(8, dtype=torch.long), form=form).item() == pytest.approx(math.log(7))  # type: ignore[arg-type]


def test_without_positives_loss_and_gradient_are_zero() -> None:
    z = torch.randn(5, 3, requires_grad=True)
    loss = contrastive_loss(z, torch.arange(5))
    loss.backward()
    assert loss.item() == 0
    assert z.grad is not None
    assert z.grad.abs().max() == 0


def test_autocast_does_not_lower_the_precision() -> None:
    z, labels = torch.randn(64, 16), torch.arange(64) % 8
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(z, labels, temperature=0.05)
    torch.testing.assert_close(loss, contrastive_loss(z, labels, temperature=0.05))


@pytest.mark.parametrize("temperature", [0.05, 0.5])
def test_the_floor_is_below_every_loss_and_reached_by_the_ideal_batch(temperature: float) -> None:
    for seed in range(5):
        z, labels = batch(seed)
        floor, collapse = contrastive_bounds(labels, temperature)
        for form in ("out", "in"):
            assert contrastive_loss(z, labels, form=form, temperature=temperature).item() >= floor
        assert collapse == pytest.approx(math.log(len(labels) - 1))
    ideal, labels = torch.tensor([[1.0], [1.0], [-1.0], [-1.0]]), torch.tensor([0, 0, 1, 1])
    floor, _ = contrastive_bounds(labels, temperature)
    assert contrastive_loss(ideal, labels, temperature=temperature).item() == pytest.approx(floor, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"embeddings": torch.zeros(4)}, "embeddings must be"),
        ({"embeddings": torch.zeros(4, 2, dtype=torch.long)}, "embeddings must be"),
        ({"labels": torch.zeros(3, dtype=torch.long)}, "labels must be"),
        ({"labels": torch.zeros(4)}, "labels must be"),
        ({"temperature": 0.0}, "temperature must be"),
        ({"temperature": -1.0}, "temperature must be"),
        ({"form": "sideways"}, "form must be"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(change: dict[str, object], said: str) -> None:
    arguments = {"embeddings": torch.randn(4, 2), "labels": torch.zeros(4, dtype=torch.long), **change}
    with pytest.raises(ValueError, match=said):
        contrastive_loss(**arguments)  # type: ignore[arg-type]
