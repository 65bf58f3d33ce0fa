"""Encoders: the guard around timm, normalisation."""

import logging
import subprocess
import sys
import warnings
from typing import Any

import pytest
import torch

from supcon.errors import UserError
from supcon.settings.settings import ModelSettings
from supcon.training.model.encoder import Encoder
from supcon.training.model.timm_import import timm
from tests.conftest import REPOSITORY


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


def test_weights_that_the_hub_does_not_give_are_one_line_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    make = timm.create_model

    def create(name: str, pretrained: bool = False, **options: Any) -> object:
        if not pretrained:
            return make(name, **options)
        logging.getLogger("huggingface_hub.utils._http").warning("Retrying in 1s [Retry 1/5].")
        warnings.warn("the hub warns", stacklevel=1)
        raise OSError("no network")

    monkeypatch.setattr(timm, "create_model", create)
    with pytest.raises(UserError, match=r"could not load its weights from the hub \(no network\): give a local"):
        Encoder(ModelSettings(encoder="test_resnet"), 32, load_weights=True)
    assert (caplog.records, recwarn.list) == ([], [])
    logging.getLogger("ours").warning("heard again")
    assert len(caplog.records) == 1


@pytest.mark.parametrize("name", ["test_resnet", "mobilenetv3_small_050", "test_vit", "test_efficientnet", "vgg11"])
def test_the_width_is_what_the_encoder_gives(name: str) -> None:
    encoder = Encoder(ModelSettings(encoder=name, pretrained=False), 32, load_weights=False)
    assert encoder.eval()(views()).shape == (2, encoder.width)
    assert encoder.train().training
