"""What the training loop tells its objective, its monitor and its log, and how far a step goes."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.run.stage import StageRun
from supcon.settings.settings import Settings
from supcon.settings.training import PretrainSettings, TrainSettings
from supcon.storage.files import check_seal
from supcon.training.device import gradient_scaler
from supcon.training.health import Metrics, StepMetrics
from supcon.training.loop import Objective, Plan, Step, Training, train, training_step
from supcon.training.model.encoder import Encoder
from supcon.training.optimizer import Schedule
from supcon.training.sampler import BatchSampler, NaturalSampler, PKSampler

BATCHES = 3
Precision = Literal["float32", "float16"]
ENCODER = cast(Encoder, None)  # the loop does not look at it


class Recorder:
    """An objective that notes its steps and what the monitor sees; the slope of its loss is `slope`."""

    def __init__(self, slope: float = 1.0, **metrics: float) -> None:
        self.steps: list[Step] = []
        self.seen: list[Tensor] = []
        self._slope, self._metrics = slope, metrics

    def backward(self, model: nn.ModuleDict, views: Tensor, labels: Tensor, step: Step) -> tuple[Tensor, StepMetrics]:
        self.steps.append(step)
        loss = self._slope * weight_of(model).sum()
        step.scaled(loss).backward()
        return loss.detach(), {**self._metrics}

    def passes(self, images: int) -> float:
        return images

    def end_of_epoch(self, model: nn.ModuleDict) -> Metrics:
        self.seen.append(weight_of(model).clone())
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        raise AssertionError(state)


def weight_of(model: nn.ModuleDict) -> Tensor:
    return cast(nn.Linear, model["encoder"]).weight


def one_weight() -> tuple[nn.ModuleDict, torch.optim.Optimizer]:
    model = nn.ModuleDict({"encoder": nn.Linear(1, 1, bias=False)})
    nn.init.zeros_(weight_of(model))
    return model, torch.optim.SGD([{"params": list(model.parameters()), "lr_scale": 1.0}], lr=1.0)


def trained(
    folder: Path,
    recorder: Recorder,
    sampler: BatchSampler | None = None,
    warmup: float = 0.1,
    precision: Precision = "float32",
    **options: Any,
) -> tuple[nn.ModuleDict, nn.ModuleDict]:
    """Train one weight; return the model and what `train` made of it."""
    model, optimizer = one_weight()
    settings = PretrainSettings(**options)
    request = SimpleNamespace(settings=Settings(), fold_folder=lambda _: folder)
    stage = cast(
        StageRun, SimpleNamespace(name="pretrain", label="pretrain fold 0", folder=folder, fold=0, request=request)
    )
    shared = TrainSettings(precision=precision, warmup=warmup)
    plan = Plan(stage, settings, shared, torch.device("cpu"))
    loader = [(torch.zeros(2, 1, 2, 2, 3, dtype=torch.uint8), torch.tensor([0, 1]))] * BATCHES
    sampler = sampler or NaturalSampler(2 * BATCHES, 2, seed=0)
    schedule = Schedule(optimizer, shared, 0, settings.epochs * len(sampler))
    training = Training(ENCODER, model, cast(Objective, recorder), loader, sampler, optimizer, schedule)
    return model, train(training, plan)[0]


def rates(epochs: int) -> npt.NDArray[np.float64]:
    """The cosine's rates at the steps of that many epochs, without warm-up: the last one is above 0."""
    steps = epochs * BATCHES
    return 0.5 * (1 + np.cos(np.pi * np.arange(1, steps + 1) / (steps + 1)))


def test_the_objective_is_told_its_way_through_the_stage_and_a_seed_of_each_steps_own(tmp_path: Path) -> None:
    recorder = Recorder()
    trained(tmp_path, recorder, epochs=2)
    assert [step.progress for step in recorder.steps] == pytest.approx([number / 6 for number in range(6)])
    assert len({step.seed for step in recorder.steps}) == 6


@pytest.mark.parametrize(("clip", "moved"), [(0.0, 40.0), (0.5, 0.5), (100.0, 40.0)])
def test_a_step_goes_no_further_than_the_clip_and_0_is_none(clip: float, moved: float) -> None:
    model, optimizer = one_weight()
    batch = torch.zeros(2, 1, 2, 2, 3, dtype=torch.uint8), torch.tensor([0, 1])
    objective, sampler = cast(Objective, Recorder(slope=40.0)), NaturalSampler(2, 2, seed=0)
    schedule = Schedule(optimizer, TrainSettings(schedule="constant", warmup=0), 0, 1)
    training = Training(ENCODER, model, objective, [batch], sampler, optimizer, schedule)
    scaler = gradient_scaler(torch.device("cpu"), "float32")
    _, norm, _ = training_step(training, batch, Step(0.0, 0, nullcontext), clip, scaler)
    assert weight_of(model).item() == pytest.approx(-moved)
    assert norm.item() == pytest.approx(40)


def test_the_stages_clip_holds_at_every_step(tmp_path: Path) -> None:
    model, _ = trained(tmp_path, Recorder(slope=40.0), epochs=2, clip=0.25, warmup=0)
    assert weight_of(model).item() == pytest.approx(-0.25 * rates(2).sum())


STEEP = 1e34  # times 65,536, the first scale, no longer a float32; times half of it one


def test_in_float16_a_step_whose_gradient_overflows_is_skipped_and_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model, _ = trained(tmp_path, Recorder(slope=STEEP), precision="float16", epochs=2, clip=0.25, warmup=0)
    assert weight_of(model).item() == pytest.approx(-0.25 * rates(2)[1:].sum())
    said = capsys.readouterr().out.splitlines()
    assert ["skipped 1" in said[0], "skipped 0" in said[1]] == [True, True]
    plain, _ = trained(tmp_path / "plain", Recorder(slope=40.0), precision="float16", epochs=2, clip=0.25, warmup=0)
    assert weight_of(plain).item() == pytest.approx(-0.25 * rates(2).sum())


def test_in_float16_a_stage_that_was_ended_goes_on_with_the_scale_that_it_had(tmp_path: Path) -> None:
    class Ended(Recorder):
        def backward(self, *arguments: Any) -> tuple[Tensor, StepMetrics]:
            if len(self.steps) == BATCHES + 1:
                raise KeyboardInterrupt
            return super().backward(*arguments)

        def load_state_dict(self, state: dict[str, Any]) -> None:
            pass

    options: dict[str, Any] = {"precision": "float16", "epochs": 2, "clip": 0.25, "warmup": 0}
    whole, _ = trained(tmp_path / "whole", Recorder(slope=STEEP), **options)
    with pytest.raises(KeyboardInterrupt):
        trained(tmp_path / "ended", Ended(slope=STEEP), **options)
    again = Ended(slope=STEEP)
    resumed, _ = trained(tmp_path / "ended", again, **options)
    assert len(again.steps) == BATCHES
    assert weight_of(resumed).item() == weight_of(whole).item()


def test_the_monitor_sees_the_averaged_model_that_is_returned_too(tmp_path: Path) -> None:
    recorder = Recorder()
    model, result = trained(tmp_path, recorder, epochs=2, ema=0.9, clip=0)
    assert weight_of(result).item() > weight_of(model).item() + 0.1  # behind it, on its way down
    assert recorder.seen[-1].item() == weight_of(result).item()
    assert recorder.seen[0].item() > recorder.seen[1].item()


def test_without_averaging_the_monitor_sees_the_model_itself(tmp_path: Path) -> None:
    recorder = Recorder()
    model, result = trained(tmp_path, recorder, epochs=1, ema=0)
    assert result is model
    assert recorder.seen[-1].item() == weight_of(model).item()


def test_images_that_the_batches_never_reach_are_told_with_the_cures(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = np.repeat([0, 1, 2], [90, 5, 5])
    trained(tmp_path, Recorder(), PKSampler(labels, 2, 2, seed=0), epochs=1)
    line = capsys.readouterr().out.splitlines()[0]
    assert line.startswith("pretrain fold 0: about 58% of the images are never seen in 1 x 25 batches: ")
    assert "lower --batches.balance" in line
    assert "raise --pretrain.epochs" in line
    trained(tmp_path / "all", Recorder(), PKSampler(labels, 2, 2, seed=0, balance=0), epochs=2)
    assert "never seen" not in capsys.readouterr().out


@pytest.mark.parametrize(("epochs", "judged"), [(1, 1), (3, 2)])
def test_trouble_is_named_after_the_epoch_that_has_it_and_at_the_end(
    epochs: int, judged: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trained(tmp_path, Recorder(slope=0.0, floor=-1.0, collapse=0.0, valid=1.0), epochs=epochs)
    lines = capsys.readouterr().out.splitlines()
    collapse = "the contrastive loss of epoch {}, 0, is that of equal embeddings (0): "
    first, last = (number for number, line in enumerate(lines) if "equal embeddings" in line)
    assert f"epoch {judged}/{epochs}" in lines[first - 1]
    assert lines[first].startswith("pretrain fold 0: " + collapse.format(judged))
    assert lines[last].startswith("pretrain fold 0: to the end, " + collapse.format(epochs))
    assert last == len(lines) - 1


class Resumed(Recorder):
    """One that goes on from a checkpoint."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take nothing from it: there is nothing."""


def flipped(content: bytes) -> bytes:
    half = len(content) // 2
    return content[:half] + bytes([content[half] ^ 8]) + content[half + 1 :]


def test_a_checkpoint_is_gone_on_from_with_its_seal_and_without_one_as_of_earlier_versions(tmp_path: Path) -> None:
    trained(tmp_path, Resumed(), epochs=2)
    path = tmp_path / "pretrain.checkpoint.pt"
    assert check_seal(path)
    for content in (path.read_bytes(), path.read_bytes()[: -len("\ncrc32 00000000\n")]):
        path.write_bytes(content)
        recorder = Resumed()
        trained(tmp_path, recorder, epochs=2)
        assert len(recorder.steps) == BATCHES  # of the second epoch
    assert not check_seal(path)


@pytest.mark.parametrize(
    "damage",
    [lambda content: b"", lambda content: content[:500], flipped, lambda content: bytes(len(content)), None],
    ids=["empty", "cut short", "a flipped bit", "zeroed", "a folder"],
)
def test_a_damaged_checkpoint_is_named_and_trains_nothing(
    tmp_path: Path, damage: Callable[[bytes], bytes] | None
) -> None:
    trained(tmp_path, Resumed(), epochs=2)
    path, recorder = tmp_path / "pretrain.checkpoint.pt", Resumed()
    content = path.read_bytes()
    path.unlink()
    if damage is None:
        path.mkdir()
    else:
        path.write_bytes(damage(content))
    with pytest.raises(UserError, match=r"pretrain\.checkpoint\.pt is damaged \(.+\): delete it to start the"):
        trained(tmp_path, recorder, epochs=2)
    assert not recorder.steps
