"""Files of weights: this project's own, and those of any trainer."""

import os
import re
from argparse import Namespace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from supcon.errors import UserError
from supcon.settings.settings import ModelSettings
from supcon.training.model.encoder import Encoder
from supcon.training.model.timm_import import timm
from supcon.training.model.weights import load_weights, save_weights

TINY = ModelSettings(encoder="test_resnet", pretrained=False)
RESNET = "resnet10t"


def state_of(encoder: str = RESNET, **options: Any) -> dict[str, Tensor]:
    """Return a state dict of a timm model as if trained: no tensor, statistics of batch norm among them, is as new."""
    state = timm.create_model(encoder, **options).state_dict()
    return {name: torch.rand_like(t) + 0.5 if t.is_floating_point() else t + 9 for name, t in state.items()}


def named(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: tensor for name, tensor in state.items()}


def encoder_from(path: Path, encoder: str = RESNET, side: int = 32) -> dict[str, Tensor]:
    """Return the state dict of an encoder that starts from a file."""
    return Encoder(ModelSettings(encoder, weights=str(path)), side, load_weights=True).backbone.state_dict()


def saved(content: object, tmp_path: Path) -> Path:
    torch.save(content, tmp_path / "weights.pth")
    return tmp_path / "weights.pth"


def differing(got: dict[str, Tensor], state: dict[str, Tensor]) -> list[str]:
    return [name for name, tensor in got.items() if not torch.equal(tensor, state.get(name, torch.empty(0)))]


CONTAINERS = {
    "timm's own": lambda state: state,
    "SupContrast": lambda state: {"opt": Namespace(lr=0.05), "model": named("module.encoder.", state), "epoch": 1},
    "DistributedDataParallel": lambda state: {"state_dict": named("module.", state), "optimizer": {"state": {}}},
    "a LightningModule": lambda state: {"state_dict": named("model.backbone.", state), "global_step": 3},
    "compiled": lambda state: {"net": named("backbone._orig_mod.", state)},
    "a compiled block": lambda state: {
        "net": {k.replace("layer1.0.", "layer1.0._orig_mod."): v for k, v in state.items()}
    },
    "containers in containers": lambda state: {
        "a": {"model_state": {"trunk": state, "head": {"weight": torch.ones(3)}}}
    },
    "an average beside it": lambda state: {"state_dict": state_of(), "state_dict_ema": state},
    "an average without statistics": lambda state: {
        "model_ema": {k: v for k, v in state_of().items() if "running" not in k},
        "model": state,
    },
    "a teacher": lambda state: {"student": named("module.backbone.", state_of()), "teacher": named("backbone.", state)},
    "MoCo": lambda state: {"state_dict": named("module.encoder_k.", state_of()) | named("module.encoder_q.", state)},
    "a momentum encoder": lambda state: named("momentum_backbone.", state_of()) | named("backbone.", state),
}


@pytest.mark.parametrize("kind", CONTAINERS)
def test_an_encoder_is_found_in_a_checkpoint_of(kind: str, tmp_path: Path) -> None:
    state = state_of(num_classes=7)
    assert not differing(encoder_from(saved(CONTAINERS[kind](state), tmp_path)), state)


@pytest.mark.parametrize("name", ["weights.safetensors", "0123456789abcdef"])
def test_safetensors_are_known_by_their_content(name: str, tmp_path: Path) -> None:
    state = state_of()
    save_file(named("backbone.", state), tmp_path / name)
    assert not differing(encoder_from(tmp_path / name), state)


def test_a_run_of_other_classes_gives_its_encoder_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "classifier.safetensors"
    encoder = Encoder(ModelSettings(RESNET, pretrained=False), 32, load_weights=False)
    encoder.backbone.load_state_dict(state_of(num_classes=0))
    heads = {"projection": nn.Linear(encoder.width, 8), "classifier": nn.Linear(encoder.width, 90)}
    save_weights(path, encoder=encoder, **heads, prototypes=nn.Linear(8, 90))
    assert not differing(encoder_from(path), encoder.backbone.state_dict())
    tensors = len([name for name in encoder.backbone.state_dict() if "num_batches" not in name])
    line = f"--model.weights classifier.safetensors: all {tensors} tensors of {RESNET} from encoder.backbone.*\n"
    assert capsys.readouterr().out == line


def test_a_classifier_is_left_in_the_file_which_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of()
    assert not [name for name in encoder_from(saved(state, tmp_path)) if name.startswith("fc")]
    assert capsys.readouterr().out.endswith(f"tensors of {RESNET}; not taken: fc.weight and 1 more\n")


def test_what_the_file_lacks_is_counted_and_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of(num_classes=0)
    own = [name for name in state if "num_batches" not in name]
    rest = {name: tensor for name, tensor in state.items() if not name.startswith("layer4.0.conv")}
    lacking = [name for name in own if name not in rest]
    got = encoder_from(saved(named("module.", rest), tmp_path))
    assert differing(got, state) == lacking
    line = f"{len(own) - len(lacking)} of the {len(own)} tensors of {RESNET} from module.*; not in the file: "
    assert line + f"{lacking[0]} and {len(lacking) - 1} more\n" in capsys.readouterr().out


def test_most_of_an_encoder_or_another_network_is_refused_by_names_and_shapes(tmp_path: Path) -> None:
    state = state_of(num_classes=0)
    some = {name: tensor for name, tensor in state.items() if name.startswith(("conv1", "layer1"))}
    with pytest.raises(UserError, match=r"weights\.pth does not fit resnet10t, .*the encoder has bn1\.weight \[64\]"):
        encoder_from(saved(some, tmp_path))
    said = r"resnet10t, 0 of whose \d+ tensors it holds .* conv1\.0\.weight \[24, 3, 3, 3\], the file \w+\.cls_token"
    with pytest.raises(UserError, match=said + r".*: name the network of the file with --model\.encoder, or give "):
        encoder_from(saved(named("vit.", state_of("test_vit")), tmp_path))
    with pytest.raises(UserError, match=r"does not fit test_convnext, 0 of whose"):  # timm's conversion raises
        encoder_from(saved(state, tmp_path), "test_convnext")
    wide = state | {"layer4.0.conv1.weight": torch.ones(512, 256, 1, 1)}
    with pytest.raises(UserError, match=r"has layer4.* \[512, 256, 3, 3\], the file layer4.* \[512, 256, 1, 1\]"):
        encoder_from(saved(wide, tmp_path))


def test_timm_resizes_position_embeddings_behind_any_prefix(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = state_of("test_vit", img_size=160)
    path = saved({"state_dict": named("module.", state)}, tmp_path)
    encoder = Encoder(ModelSettings("test_vit", weights=str(path)), 32, load_weights=True)
    got = encoder.backbone.state_dict()
    assert differing(got, state) == ["pos_embed"]
    assert got["pos_embed"].min() > 0.4  # interpolated from 0.5 and more; new ones are around 0
    assert capsys.readouterr().out.endswith("from state_dict.module.*, converted by timm\n")
    assert "state_dict" not in cast(dict[str, Any], encoder.backbone.pretrained_cfg)  # it would be kept a second time


def test_timm_converts_the_names_of_a_network_s_authors(tmp_path: Path) -> None:
    state = state_of("test_convnext")

    def original(name: str) -> str:
        name = re.sub(r"stages\.(\d)\.blocks\.(\d)", r"stages.\1.\2", name)
        name = re.sub(r"stages\.(\d)\.downsample", r"downsample_layers.\1", name)
        name = name.replace("stem", "downsample_layers.0").replace("head.norm", "norm").replace("head.fc", "head")
        return name.replace("conv_dw", "dwconv").replace("mlp.fc", "pwconv")

    path = saved({"model": {original(name): tensor for name, tensor in state.items()}}, tmp_path)
    assert not differing(encoder_from(path, "test_convnext"), state)


class Evil:
    """An object whose pickle makes a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = str(folder)

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (self.folder,)


def test_objects_beside_tensors_are_not_unpickled_and_the_cure_works(tmp_path: Path) -> None:
    state = state_of()
    with pytest.raises(UserError, match=r"holds objects \(\w+\.mkdir\) beside its tensors"):
        encoder_from(saved({"model": state, "x": Evil(tmp_path / "made")}, tmp_path))
    assert not (tmp_path / "made").exists()
    path = saved({"state_dict": state, "best_acc": np.float64(0.93)}, tmp_path)
    with pytest.raises(UserError, match=r"objects \(numpy\.\S+\.scalar\) beside .* save its tensors anew by ") as error:
        encoder_from(path)
    load, save = re.findall(r"torch\.\w+\([^)]*\)", str(error.value))
    c = eval(load, {"torch": torch})
    eval(save.replace("NEW.pth", str(tmp_path / "new.pth")), {"torch": torch, "c": c})
    assert not differing(encoder_from(tmp_path / "new.pth"), state)
    with pytest.raises(UserError, match=r"objects \(timm\.\S+\) beside .*a whole model has c\.state_dict\(\)"):
        encoder_from(saved(timm.create_model(RESNET), tmp_path))


@pytest.mark.parametrize("name", ["weights.pth", "weights.safetensors"])
def test_what_is_no_file_of_weights_is_named_with_the_cure(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    with pytest.raises(UserError, match=rf"--model\.weights {re.escape(str(path))}: no such file"):
        encoder_from(path)
    save_file(state_of(), path) if path.suffix == ".safetensors" else saved(state_of(), tmp_path)
    for content in (path.read_bytes()[:1000], b"", b"<!DOCTYPE html>", b"\x80\x04."):
        path.write_bytes(content)
        with pytest.raises(UserError, match=rf"--model\.weights {re.escape(str(path))} ") as error:
            encoder_from(path)
        assert "anew" in str(error.value)
    for nothing in ({"epoch": 3}, [torch.ones(3)], torch.ones(3)):
        torch.save(nothing, path)
        with pytest.raises(UserError, match=r"holds no floating-point tensors by name: give the file of a state dict"):
            encoder_from(path)


def test_tensors_that_are_no_weights_are_not_taken_for_them(tmp_path: Path) -> None:
    state = state_of()
    for change in (
        torch.Tensor.to_sparse,
        lambda tensor: tensor.to("meta"),
        lambda tensor: (8 * tensor).to(torch.int8),
    ):
        with pytest.raises(UserError, match=r"holds no floating-point tensors by name"):
            encoder_from(saved({name: change(tensor) for name, tensor in state.items() if tensor.ndim}, tmp_path))
    name = next(name for name, tensor in state.items() if tensor.ndim == 4)
    broken = {**state, name: torch.full_like(state[name], torch.nan)}
    with pytest.raises(
        UserError, match=rf"{re.escape(name)} holds NaN or infinity: its training had diverged; give an"
    ):
        encoder_from(saved(broken, tmp_path))


def test_a_file_whose_dict_holds_itself_is_read_once(tmp_path: Path) -> None:
    state = state_of()
    content: dict[str, object] = {"state_dict": state}
    content["self"] = content
    assert not differing(encoder_from(saved(content, tmp_path)), state)


def test_saved_parts_come_back_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    first, head = Encoder(TINY, 32, load_weights=False).eval(), nn.Linear(3, 2)
    save_weights(path, encoder=first, head=head)
    second = Encoder(TINY, 32, load_weights=False).eval()
    load_weights(path, encoder=second)
    images = torch.randint(0, 256, (2, 32, 32, 3), dtype=torch.uint8)
    torch.testing.assert_close(first(images), second(images))
    with pytest.raises(UserError, match=r"encoder\.safetensors could not be loaded"):
        load_weights(path, head=nn.Linear(4, 2))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"encoder\.safetensors could not be loaded"):
        load_weights(path, encoder=second)
