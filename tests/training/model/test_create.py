"""What timm refuses is one line: which setting, why, and what fits."""

import re
from pathlib import Path

import pytest

from supcon.errors import UserError
from supcon.settings import Settings, parse
from supcon.settings.settings import ModelSettings
from supcon.training.model.encoder import Encoder, encoder_of


def encoder(name: str, side: int, kwargs: str = "") -> Encoder:
    return Encoder(ModelSettings(encoder=name, pretrained=False, kwargs=kwargs), side, load_weights=False)


def settings_of(root: Path, *flags: str) -> Settings:
    return parse("", ["--root", str(root), "--model.pretrained=false", *flags]).settings


def test_further_arguments_are_timms() -> None:
    plain, thin = (encoder("resnet10t", 64, text) for text in ("", '{"stem_width": 16}'))
    assert sum(w.numel() for w in plain.parameters()) > sum(w.numel() for w in thin.parameters())


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"act_layer": "nope"}', "KeyError 'nope'"),
        ('{"layers": [1, 1]}', "'ResNet' object has no attribute 'layer3'"),
        ('{"global_pool": ""}', r"it gives features of the shape \[1, \d+, 2, 2\], not of \[images, width\]"),
        ('{"no_such": 1}', r"ResNet.__init__\(\) got an unexpected keyword argument 'no_such'"),
        ('{"output_stride": 7}', "AssertionError"),
    ],
)
def test_arguments_that_timm_refuses_are_named_with_why(text: str, reason: str) -> None:
    refused = rf"timm's resnet10t refuses it \({reason}\): give it what its class in timm\.models\.resnet takes"
    with pytest.raises(UserError, match=f"^--model.kwargs {re.escape(text)}: {refused}$"):
        encoder("resnet10t", 64, text)


def test_arguments_that_take_other_sizes_say_which() -> None:
    refused = (
        r"for images of 64 pixels \(.*\): use --data.image_size 63 or 70, as its patches are 7 .*, or give it what"
    )
    with pytest.raises(
        UserError, match=rf'kwargs {{"patch_size": 7}}: timm\'s vit_tiny_patch16_224 refuses it {refused}'
    ):
        encoder("vit_tiny_patch16_224", 64, '{"patch_size": 7}')


def test_good_arguments_are_not_blamed_for_a_size() -> None:
    refused = r"--data.image_size 100: vit_tiny_patch16_224 takes no images of 100 pixels \(.*\): use 96 or 112, as its"
    with pytest.raises(UserError, match=refused):
        encoder("vit_tiny_patch16_224", 100, '{"depth": 1}')


@pytest.mark.parametrize(
    ("name", "side", "cure"),
    [
        ("vit_tiny_patch16_224", 100, "use 96 or 112, as its patches are 16 pixels wide"),
        ("eva02_tiny_patch14_224", 100, "use 98 or 112, as its patches are 14 pixels wide"),
        ("xcit_nano_12_p16_224", 100, "use 96 or 128"),  # refused when it is made
        ("coatnet_pico_rw_224", 100, "use 96 or 128"),  # refused when it sees an image
        ("efficientformer_l1", 96, "use the 224 pixels that it is made for, or another --model.encoder"),
    ],
)
def test_a_size_that_does_not_fit_is_refused_with_sizes_that_do(name: str, side: int, cure: str) -> None:
    with pytest.raises(UserError) as raised:
        encoder(name, side)
    said = str(raised.value)
    assert said.startswith(f"--data.image_size {side}: {name} takes no images of {side} pixels (")
    assert said.endswith(f"): {cure}")
    for size in [int(word) for word in cure.split(",")[0].split() if word.isdigit()]:
        encoder(name, size)


@pytest.mark.parametrize(
    ("name", "cure"),
    [
        ("vit_tiny_patch16_224", "use 32 or 48, as its patches are 16 pixels wide"),
        ("mixer_s32_224", "it takes images of --data.image_size alone: leave this out, or use another --model.encoder"),
    ],
)
def test_a_size_of_prediction_that_does_not_fit_is_refused_with_sizes_that_do(
    name: str, cure: str, tmp_path: Path
) -> None:
    flags = (f"--model.encoder={name}", "--data.image_size=128", "--data.test_size=40")
    with pytest.raises(UserError) as raised:
        encoder_of(settings_of(tmp_path, *flags), load_weights=False)
    assert str(raised.value).startswith(f"--data.test_size 40: {name} takes no images of 40 pixels (")
    assert str(raised.value).endswith(f"): {cure}")


@pytest.mark.parametrize(
    ("name", "similar"),
    [("resnet10", ", but resnet10t, resnet101"), ("xyzzy", r": timm.list_models\(\) lists those that it has")],
)
def test_an_unknown_encoder_is_answered_with_those_of_like_names(name: str, similar: str) -> None:
    with pytest.raises(UserError, match=f"--model.encoder {name}: timm has no such model{similar}"):
        encoder(name, 64)
