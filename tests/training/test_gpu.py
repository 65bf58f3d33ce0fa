"""What only a GPU can show: no step waits, losses have full float32, views and passes equal those of the CPU."""

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from supcon.images.augment.batch import BatchViews
from supcon.images.augment.recipes import Recipe, draw, ranges_of
from supcon.losses import contrastive_loss
from supcon.settings.settings import AugmentSettings, MachineSettings, ModelSettings, Settings
from supcon.settings.training import ContrastSettings, FinetuneSettings, PretrainSettings, TrainSettings
from supcon.training import gradcache
from supcon.training.device import autocast, gradient_scaler, set_up_device
from supcon.training.health import Health, Meter
from supcon.training.key_queue import KeyQueue
from supcon.training.loop import Objective, Step, Training, training_step
from supcon.training.model.classifier import classifier_head
from supcon.training.model.encoder import Encoder
from supcon.training.model.heads import contrast_parts
from supcon.training.model.timm_import import timm
from supcon.training.objectives import StageObjective
from supcon.training.optimizer import Schedule, encoder_groups, head_groups, make_optimizer
from supcon.training.sampler import NaturalSampler
from tests.devices import needs_gpu
from tests.rounding import distance, of_contrast

pytestmark = [pytest.mark.gpu, needs_gpu]

CLASSES, SIDE, IMAGES = 4, 32, 16
GPU = torch.device("cuda")
RICH = AugmentSettings(
    hflip=True, vflip=True, rotate90=True, shift=0.1, scale=0.2, rotate=20, crop=0.4, color=0.4, gray=0.2, blur=0.3,
    erase=0.4,
)  # fmt: skip


@pytest.fixture(autouse=True)
def _set_up() -> None:
    set_up_device(MachineSettings(device=GPU.type, threads=1))


@pytest.fixture
def waiting_is_an_error() -> Iterator[None]:
    yield
    torch.cuda.set_sync_debug_mode("default")


def model_of(contrast: ContrastSettings, drop_path: float = 0.0) -> nn.ModuleDict:
    torch.manual_seed(0)
    encoder = Encoder(
        ModelSettings(encoder="test_resnet", pretrained=False, drop_path=drop_path), SIDE, load_weights=False
    )
    parts = contrast_parts(encoder.width, CLASSES, contrast)
    classifier = classifier_head(encoder.width, CLASSES, Settings(model=ModelSettings(dropout=0.1)))
    return nn.ModuleDict({"encoder": encoder, "classifier": classifier, **parts}).to(GPU).train()


def objective_of(
    model: nn.ModuleDict, contrast: ContrastSettings, stage: PretrainSettings | FinetuneSettings
) -> Objective:
    size = stage.memory if isinstance(stage, PretrainSettings) else 0
    queue = KeyQueue(model, size, momentum=0.99) if size else None
    return StageObjective(stage, contrast, torch.zeros(CLASSES, device=GPU), None, queue, label_smoothing=0.1)


@pytest.mark.usefixtures("waiting_is_an_error")
@pytest.mark.parametrize(
    ("contrast", "stage"),
    [
        (ContrastSettings(), PretrainSettings()),
        (ContrastSettings(form="in", hardness=1.0, temperature=0.01), PretrainSettings()),
        (ContrastSettings(form="eps_supcon"), PretrainSettings(micro_batch=6)),
        (ContrastSettings(form="sincere"), PretrainSettings(memory=64)),
        (ContrastSettings(form="balanced", prototypes=True, projection="none"), PretrainSettings()),
        (ContrastSettings(), PretrainSettings(mixup=0.4)),
        (ContrastSettings(), PretrainSettings(cross_entropy_weight=1.0)),
        (ContrastSettings(), FinetuneSettings(contrastive_weight=1.0)),
        (ContrastSettings(), FinetuneSettings(cutmix=1.0, micro_batch=6)),
    ],
    ids=["out", "in", "gradcache", "memory", "prototypes", "mixup", "both", "joint", "cutmix"],
)
def test_a_step_waits_for_nothing(contrast: ContrastSettings, stage: PretrainSettings | FinetuneSettings) -> None:
    """From the views, made on the device, to the averaged weights."""
    model = model_of(contrast)
    objective = objective_of(model, contrast, stage)
    heads = [part for name, part in model.items() if name != "encoder"]
    backbone: Any = model["encoder"].backbone
    shared = TrainSettings()
    optimizer = make_optimizer(encoder_groups(backbone, 1e-3, 1.0, 0.05) + head_groups(heads, 1e-3, 0.05), shared)
    schedule = Schedule(optimizer, shared, 0, 10)
    ema = timm.utils.ModelEmaV3(model, decay=0.99, use_warmup=True)
    meter = Meter("pretrain", "pretrain fold 0", 0, GPU, Health("pretrain", "pretrain fold 0", 1))
    canvases, recipe = inputs(IMAGES)
    canvases, recipe = canvases.pin_memory(), Recipe(*(part.pin_memory() for part in recipe))
    make, labels = BatchViews(ranges_of(RICH, 1.0), SIDE, GPU), torch.arange(IMAGES) % CLASSES
    for number in range(4):
        torch.cuda.set_sync_debug_mode("error" if number else "default")  # the first one allocates and looks around
        schedule.set(number)
        optimizer.zero_grad(set_to_none=True)
        step = Step(0.5, number, partial(autocast, GPU, "bfloat16"))
        loss, metrics = objective.backward(model, make(canvases, recipe), labels, step)
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        meter.add(loss, norm, metrics)
        optimizer.step()
        ema.update(model, step=number)
    torch.cuda.set_sync_debug_mode("default")
    assert np.isfinite(meter.means()["loss"])


def test_in_float16_a_step_whose_gradient_overflows_is_skipped_and_others_train() -> None:
    model, shared = model_of(ContrastSettings()), TrainSettings(warmup=0)
    objective = objective_of(model, ContrastSettings(), PretrainSettings())
    optimizer = make_optimizer(head_groups(model.values(), 1e-3, 0.05), shared)
    encoder: Any = model["encoder"]
    schedule, sampler = Schedule(optimizer, shared, 0, 10), NaturalSampler(IMAGES, IMAGES, seed=0)
    training = Training(encoder, model, objective, [], sampler, optimizer, schedule)
    views = torch.randint(0, 256, (IMAGES, 1, SIDE, SIDE, 3), dtype=torch.uint8).to(GPU)

    def moved(scaler: torch.amp.GradScaler, steps: int) -> bool:
        before = parameters_of(model)
        for number in range(steps):
            schedule.set(number)
            step = Step(0.5, number, partial(autocast, GPU, "float16"), scaler.scale)
            loss, *_ = training_step(training, (views, torch.arange(IMAGES) % CLASSES), step, 1.0, scaler)
            assert torch.isfinite(loss)
        assert torch.isfinite(parameters_of(model)).all()
        return not torch.equal(before, parameters_of(model))

    assert not moved(torch.amp.GradScaler("cuda", init_scale=1e38), 1)
    assert moved(gradient_scaler(GPU, "float16"), 10)


def parameters_of(model: nn.Module) -> Tensor:
    return torch.cat([weight.detach().flatten() for weight in model.parameters()])


def inputs(images: int) -> tuple[Tensor, Recipe]:
    draws = np.random.default_rng(0)
    canvases = torch.from_numpy(draws.integers(0, 256, (images, 37, 37, 3)).astype(np.uint8))
    rows = np.arange(images)
    addresses = np.stack([0 * rows, rows, 0 * rows, 0 * rows], axis=1)
    return canvases, draw(3, addresses, np.ones(images), ranges_of(RICH, 1.0), SIDE)


def test_views_are_those_of_the_cpu_but_for_rounding() -> None:
    canvases, recipe = inputs(200)
    on_cpu, on_gpu = (
        BatchViews(ranges_of(RICH, 1.0), SIDE, torch.device(device))(canvases, recipe).cpu().int()
        for device in ("cpu", GPU.type)
    )
    difference = (on_gpu - on_cpu).abs()
    assert difference.max() <= 2
    assert (difference > 0).float().mean() < 0.01


@pytest.mark.parametrize("form", ["out", "in", "sincere", "eps_supcon", "balanced"])
@pytest.mark.parametrize("temperature", [0.1, 0.01])
def test_losses_are_those_of_float64_on_the_cpu_where_the_encoder_may_take_tf32(form: Any, temperature: float) -> None:
    assert torch.backends.cuda.matmul.allow_tf32
    labels = torch.arange(600) % 7
    generator = torch.Generator().manual_seed(0)
    embeddings = torch.randn(600, 128, generator=generator, dtype=torch.float64)
    results = []
    for z in (embeddings, embeddings.float().to(GPU)):
        z = z.clone().requires_grad_()
        loss = contrastive_loss(z, labels, form=form, temperature=temperature)
        loss.backward()
        assert z.grad is not None
        results.append((loss.detach().double().cpu(), z.grad.double().cpu()))
    (wanted, slope), (loss, gradient) = results
    rounding = 2 * of_contrast(temperature)  # of 128 entries: 4 times the 32 that it is for, at random
    assert loss.item() == pytest.approx(wanted.item(), rel=rounding)
    assert distance(gradient, slope) <= rounding


@pytest.mark.parametrize("chunks", [1, 3])
def test_compiled_passes_have_the_gradient_of_plain_ones_dropout_included(chunks: int) -> None:
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = False
    views = torch.randint(0, 256, (12, SIDE, SIDE, 3), dtype=torch.uint8).to(GPU)
    gradients = []
    for compiled in (False, True):
        encoder: Any = model_of(ContrastSettings(), drop_path=0.3)["encoder"]
        if compiled:
            encoder.compile_training()
        torch.manual_seed(5)
        gradcache.backward(encoder, views, lambda features: (features**2).sum(), chunks)
        gradients.append(torch.cat([p.grad.flatten() for p in encoder.parameters()]))
    assert (gradients[1] - gradients[0]).norm() < 1e-3 * gradients[0].norm()
