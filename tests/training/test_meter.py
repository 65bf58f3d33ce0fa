"""The metrics of an epoch are added up without a fetch at every step, and a step that is not finite stops the stage."""

import math

import pytest
import torch

from supcon.errors import UserError
from supcon.training.health import FETCH_INTERVAL, Health, Meter

CPU, GPU = torch.device("cpu"), torch.device("cuda")  # named, never used: what a meter holds is on the CPU here
FINITE = torch.tensor(1.0)


def meter(device: torch.device, lines: list[str] | None = None) -> Meter:
    health = Health("pretrain", "pretrain fold 0", 5, (lines if lines is not None else []).append)
    return Meter("pretrain", "pretrain fold 0", 2, device, health)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_means_are_over_all_steps_and_without_the_norm(device: torch.device) -> None:
    tested = meter(device)
    losses = [float(number) for number in range(2 * FETCH_INTERVAL + 3)]
    for loss in losses:
        tested.add(torch.tensor(loss), FINITE, {"floor": 2 * loss, "extra": torch.tensor(3 * loss)})
    mean = sum(losses) / len(losses)
    assert tested.means() == pytest.approx({"loss": mean, "floor": 2 * mean, "extra": 3 * mean})


def test_steps_whose_scaled_gradient_overflowed_are_counted_and_leave_no_trace() -> None:
    tested = Meter("pretrain", "pretrain fold 0", 2, CPU, Health("pretrain", "", 5), may_overflow=True)
    for loss, norm in ((1.0, 1.0), (50.0, math.inf), (3.0, 1.0), (70.0, math.nan)):
        tested.add(torch.tensor(loss), torch.tensor(norm), {})
    assert tested.means() == {"loss": 2.0, "skipped": 2.0}
    with pytest.raises(UserError, match="the loss is nan"):
        tested.add(torch.tensor(math.nan), torch.tensor(math.nan), {})
    none = Meter("pretrain", "pretrain fold 0", 2, CPU, Health("pretrain", "", 5), may_overflow=True)
    none.add(FINITE, torch.tensor(math.inf), {})
    with pytest.raises(UserError, match=r"no step of epoch 3 had a gradient that float16 holds: lower --pretrain\.lr"):
        none.means()


@pytest.mark.parametrize("broken", [(math.nan, 1.0), (1.0, math.inf)])
def test_on_the_cpu_a_step_that_is_not_finite_stops_before_it_changes_a_weight(broken: tuple[float, float]) -> None:
    tested = meter(CPU)
    tested.add(FINITE, FINITE, {})
    with pytest.raises(UserError, match=r"at epoch 3, step 2: lower --pretrain\.lr, or try --train\.precision float32"):
        tested.add(torch.tensor(broken[0]), torch.tensor(broken[1]), {})


def test_on_a_gpu_it_stops_a_few_steps_later_and_always_before_the_epoch_is_told() -> None:
    tested = meter(GPU)
    for loss in (1.0, math.nan, 1.0):
        tested.add(torch.tensor(loss), FINITE, {})
    with pytest.raises(UserError, match="step 2"):
        tested.means()
    late = meter(GPU)
    for _ in range(FETCH_INTERVAL - 1):
        late.add(torch.tensor(math.nan), FINITE, {})
    with pytest.raises(UserError, match="step 1:"):
        late.add(FINITE, FINITE, {})


def test_health_sees_every_step_as_numbers() -> None:
    lines: list[str] = []
    tested = meter(GPU, lines)
    tested.add(torch.tensor(0.5), FINITE, {"floor": 1.0, "collapse": 4.0, "valid": 1.0})
    assert lines == []
    tested.means()
    assert "0.5 is below its floor 1" in lines[0]
