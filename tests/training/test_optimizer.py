"""Optimizers by timm's names, their groups, and the schedule of their learning rates over one stage or two."""

import io

import pytest
import torch
from torch import nn

from supcon.errors import UserError
from supcon.settings.training import TrainSettings
from supcon.training.model.timm_import import timm
from supcon.training.optimizer import Schedule, encoder_groups, head_groups, make_optimizer

RATE = 0.5


def rates(settings: TrainSettings, first: int = 0, steps: int = 100, own: int | None = None) -> list[float]:
    optimizer = make_optimizer(head_groups([nn.Linear(2, 2)], lr=RATE, weight_decay=0.1), settings)
    schedule = Schedule(optimizer, settings, first, steps)
    result = []
    for step in range(steps - first if own is None else own):
        schedule.set(step)
        assert len({group["lr"] for group in optimizer.param_groups}) == 1
        result.append(optimizer.param_groups[0]["lr"])
    return result


def test_the_learning_rate_warms_up_and_falls_as_a_cosine_whose_last_step_still_moves() -> None:
    shown = rates(TrainSettings(warmup=0.1))
    assert shown[9] == max(shown) == RATE
    assert shown[:10] == pytest.approx([RATE * (step + 1) / 10 for step in range(10)])
    assert shown[9 + 91 // 2] == pytest.approx(RATE / 2, abs=RATE * 2 / 91)  # half way down
    assert shown == shown[:10] + sorted(shown[10:], reverse=True)
    assert 0 < shown[-1] < 0.001


def test_a_cosine_ends_at_its_final_rate_and_a_constant_one_stays() -> None:
    shown = rates(TrainSettings(final_lr=0.1))
    assert min(shown[9:]) == shown[-1] == pytest.approx(0.1 * RATE, rel=0.01)
    constant = rates(TrainSettings(schedule="constant", warmup=0.2))
    assert constant[:20] == pytest.approx([RATE * (step + 1) / 20 for step in range(20)])
    assert constant[20:] == [RATE] * 80


def test_one_cycle_rises_and_falls_while_the_momentum_falls_and_rises() -> None:
    settings = TrainSettings(optimizer="sgd", schedule="one_cycle", warmup=0.3)
    optimizer = make_optimizer(head_groups([nn.Linear(2, 2)], lr=RATE, weight_decay=0.1), settings)
    schedule = Schedule(optimizer, settings, 0, 100)
    shown = []
    for step in range(100):
        schedule.set(step)
        shown.append((optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["momentum"]))
    highest = max(shown)
    assert highest[0] == pytest.approx(RATE)
    assert shown.index(highest) == 29
    assert highest[1] == min(momentum for _, momentum in shown)
    assert shown[0][0] < RATE / 20
    assert shown[-1][0] < RATE / 1000
    assert (shown[0][1], highest[1]) == (pytest.approx(settings.momentum), pytest.approx(settings.momentum - 0.1))


def test_one_cycle_takes_the_momentum_betas_and_final_rate_that_are_asked_for() -> None:
    settings = TrainSettings(betas=[0.6, 0.99], schedule="one_cycle", final_lr=0.2)
    assert rates(settings)[-1] == pytest.approx(0.2 * RATE, rel=0.01)
    optimizer = make_optimizer(head_groups([nn.Linear(2, 2)], lr=RATE, weight_decay=0.1), settings)
    schedule = Schedule(optimizer, settings, 0, 100)
    schedule.set(9)
    assert optimizer.param_groups[0]["betas"] == (pytest.approx(0.5), 0.99)
    schedule.set(99)
    assert optimizer.param_groups[0]["betas"] == (pytest.approx(0.6, abs=0.001), 0.99)


@pytest.mark.parametrize("schedule", ["cosine", "constant", "one_cycle"])
@pytest.mark.parametrize("steps", [1, 2, 5, 10, 19])
def test_a_few_steps_have_a_schedule_too(schedule: str, steps: int) -> None:
    for warmup in (0, 0.1, 0.2, 0.9):
        shown = rates(TrainSettings(schedule=schedule, warmup=warmup), 0, steps)  # type: ignore[arg-type]
        assert len(shown) == steps
        assert all(0 <= rate <= RATE * (1 + 1e-9) for rate in shown)
        assert max(shown) > 0


@pytest.mark.parametrize("schedule", ["cosine", "constant", "one_cycle"])
def test_two_stages_of_one_schedule_play_it_as_one_stage_would(schedule: str) -> None:
    settings = TrainSettings(schedule=schedule)  # type: ignore[arg-type]
    assert rates(settings, 0, 100, own=60) + rates(settings, 60, 100) == pytest.approx(rates(settings))


@pytest.mark.parametrize("schedule", ["cosine", "constant", "one_cycle"])
def test_a_rate_depends_on_its_step_alone_so_that_a_stage_can_be_resumed(schedule: str) -> None:
    settings = TrainSettings(schedule=schedule)  # type: ignore[arg-type]
    optimizer = make_optimizer(head_groups([nn.Linear(2, 2)], lr=RATE, weight_decay=0.1), settings)
    resumed = Schedule(optimizer, settings, 0, 100)
    resumed.set(70)
    assert optimizer.param_groups[0]["lr"] == pytest.approx(rates(settings)[70])


def test_layer_decay_gives_lower_layers_lower_rates_and_no_decay_to_biases() -> None:
    backbone = timm.create_model("test_resnet", num_classes=0)
    groups = encoder_groups(backbone, lr=1.0, layer_decay=0.5, weight_decay=0.1)
    rate = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    parameters = dict(backbone.named_parameters())
    assert len(rate) == len(parameters)
    stem, last = (rate[id(parameters[name])] for name in ("conv1.0.weight", list(parameters)[-1]))
    assert stem < last <= 1
    for group in groups:
        assert group["weight_decay"] == 0 or all(p.ndim > 1 for p in group["params"])
    flat = encoder_groups(backbone, lr=1.0, layer_decay=1.0, weight_decay=0.1)
    assert {group["lr_scale"] for group in flat} == {1.0}


@pytest.mark.parametrize("name", ["adamw", "sgd", "lamb", "lars", "lion", "muon", "nadamw"])
def test_timms_optimizers_learn_and_go_on_from_a_checkpoint_with_the_same_weights(name: str) -> None:
    images, labels = torch.randn(60, 3, 8, 8, generator=torch.Generator().manual_seed(1)), torch.arange(60) % 3
    settings = TrainSettings(optimizer=name)

    def begin() -> tuple[nn.Module, torch.optim.Optimizer, Schedule]:
        torch.manual_seed(0)
        network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))
        optimizer = make_optimizer(head_groups([network], 0.01, 0.05), settings)
        return network, optimizer, Schedule(optimizer, settings, 0, 20)

    def play(network: nn.Module, optimizer: torch.optim.Optimizer, schedule: Schedule, steps: range) -> float:
        for step in steps:
            schedule.set(step)
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(network(images), labels)
            loss.backward()
            optimizer.step()
        return loss.item()

    network, optimizer, schedule = begin()
    first = play(network, optimizer, schedule, range(1))
    play(network, optimizer, schedule, range(1, 10))
    kept = io.BytesIO()
    torch.save({"network": network.state_dict(), "optimizer": optimizer.state_dict()}, kept)
    assert play(network, optimizer, schedule, range(10, 20)) < first
    kept.seek(0)
    state = torch.load(kept, weights_only=True)
    again, optimizer, schedule = begin()
    again.load_state_dict(state["network"])
    optimizer.load_state_dict(state["optimizer"])
    play(again, optimizer, schedule, range(10, 20))
    for name_of, tensor in network.state_dict().items():
        assert torch.equal(tensor, again.state_dict()[name_of])


def test_betas_and_momentum_reach_the_optimizer_and_without_betas_it_has_its_own() -> None:
    def defaults(**settings: object) -> dict[str, object]:
        groups = head_groups([nn.Linear(2, 2)], lr=RATE, weight_decay=0.1)
        return make_optimizer(groups, TrainSettings(**settings)).defaults  # type: ignore[arg-type]

    assert defaults(optimizer="sgd", momentum=0.7)["momentum"] == 0.7
    assert defaults(betas=[0.8, 0.9])["betas"] == (0.8, 0.9)
    assert defaults(optimizer="lion")["betas"] == (0.9, 0.99)


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"optimizer": "admw"}, r"--train\.optimizer admw: timm has no such optimizer, but adamw, .*adam"),
        ({"optimizer": "newton"}, r"--train\.optimizer newton: timm has no such optimizer, but "),
        (
            {"optimizer": "sgd", "momentum": 0.0},
            r"--train\.optimizer sgd cannot be made \(.*raise --train\.momentum, or",
        ),
        ({"optimizer": "adahessian"}, r"adahessian needs second derivatives.*use adamw"),
        ({"optimizer": "sgd", "betas": [0.9, 0.9]}, r"--train\.betas \[0\.9, 0\.9\]: sgd takes none"),
        ({"betas": [0.9, 0.99, 0.999]}, r"adamw takes 2 of them: leave them out"),
        ({"optimizer": "fusedadam"}, r"--train\.optimizer fusedadam cannot be made \(.*use another"),
    ],
    ids=["misspelt", "unknown", "no momentum", "second order", "betas", "three betas", "not installed"],
)
def test_what_an_optimizer_cannot_be_is_refused_with_its_cure(settings: dict[str, object], line: str) -> None:
    with pytest.raises(UserError, match=line):
        make_optimizer(head_groups([nn.Linear(2, 2)], 0.1, 0.1), TrainSettings(**settings))  # type: ignore[arg-type]
