"""Encoders: the guard around timm, normalisation, weights."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from supcon.errors import UserError
from supcon.settings.settings import ModelSettings
from supcon.training.model.encoder import Encoder, load_weights, save_weights
from supcon.training.model.timm_import import timm
from tests.conftest import REPOSITORY

TINY = ModelSettings(encoder="test_resnet", pretrained=False)


def views(count: int = 2, side: int = 32) -> torch.Tensor:
    return torch.randint(0, 256, (count, side, side, 3), dtype=torch.uint8)


def test_timm_is_imported_in_one_place() -> None:
    rooms = [path for path in (REPOSITORY / "src").rglob("*.py") if path.name != "timm_import.py"]
    for path in rooms:
        for line in path.read_text().splitlines():
            assert not line.strip().startswith(("import timm", "from timm")), path


def test_timm_imports_next_to_this_torch_in_a_fresh_process() -> None:
    code = "from supcon.training.model.timm_import import timm; print(timm.__version__)"
    code = f"import sys; sys.path.insert(0, 'src'); {code}"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_the_encoder_normalises_as_its_weights_expect() -> None:
    encoder = Encoder(ModelSettings(encoder="tf_efficientnet_lite0", pretrained=False), 32, load_weights=False)
    assert encoder.mean.flatten().tolist() == [127.5] * 3  # tf_ models: 0.5 / 0.5
    other = Encoder(ModelSettings(encoder="resnet10t", pretrained=False), 32, load_weights=False)
    assert other.mean.flatten()[0].item() == pytest.approx(0.485 * 255)


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "test_vit", "test_efficientnet", "vgg11"])
def test_the_width_is_what_the_encoder_gives(name: str) -> None:
    encoder = Encoder(ModelSettings(encoder=name, pretrained=False), 32, load_weights=False)
    assert encoder.eval()(views()).shape == (2, encoder.width)
    assert encoder.train().training


def test_local_weights_are_loaded_and_others_refused(tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_resnet").state_dict(), weights)
    settings = ModelSettings(encoder="test_resnet", weights=str(weights))
    first, second = (Encoder(settings, 32, load_weights=True).eval() for _ in range(2))
    images = views()
    torch.testing.assert_close(first(images), second(images))
    fresh = Encoder(settings, 32, load_weights=False).eval()
    assert not torch.allclose(first(images), fresh(images))
    with pytest.raises(UserError, match=r"--model\.weights /nowhere: no such file"):
        Encoder(ModelSettings(encoder="test_resnet", weights="/nowhere"), 32, load_weights=True)
    weights.write_bytes(b"nothing")
    with pytest.raises(UserError, match=r"could not load its weights from .*weights\.safetensors"):
        Encoder(settings, 32, load_weights=True)


def test_saved_parts_come_back_and_damage_is_named(tmp_path: Path) -> None:
    path = tmp_path / "encoder.safetensors"
    first, head = Encoder(TINY, 32, load_weights=False).eval(), nn.Linear(3, 2)
    save_weights(path, encoder=first, head=head)
    second = Encoder(TINY, 32, load_weights=False).eval()
    load_weights(path, encoder=second)
    images = views()
    torch.testing.assert_close(first(images), second(images))
    with pytest.raises(UserError, match=r"encoder\.safetensors could not be loaded"):
        load_weights(path, head=nn.Linear(4, 2))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=r"encoder\.safetensors could not be loaded"):
        load_weights(path, encoder=second)
