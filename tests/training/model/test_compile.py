"""Compiled training passes: the same names, values and copies. The compiler itself is tried by the GPU script."""

import copy
from collections.abc import Callable

import pytest
import torch

from supcon.errors import UserError
from supcon.settings.settings import ModelSettings
from supcon.training.model.encoder import Encoder


def tiny() -> Encoder:
    torch.manual_seed(0)
    return Encoder(ModelSettings(encoder="test_resnet", pretrained=False), 16, load_weights=False).train()


def test_compiling_changes_neither_names_nor_values_and_leaves_evaluation_and_copies_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    passes: list[int] = []

    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        def run(*tensors: torch.Tensor) -> object:
            passes.append(len(tensors))
            return graph(*tensors)

        return run

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, dynamic, options: compiler(function, backend=backend))
    plain, compiled = tiny(), tiny()
    compiled.compile_training()
    copied = copy.deepcopy(compiled)
    for parameter in copied.parameters():
        parameter.data.zero_()
    views = torch.randint(0, 256, (4, 16, 16, 3), dtype=torch.uint8)
    assert list(compiled.state_dict()) == list(plain.state_dict())
    torch.testing.assert_close(compiled(views), plain(views))
    assert len(passes) == 1
    assert copied(views).abs().sum() == 0
    assert len(passes) == 2
    torch.testing.assert_close(compiled.eval()(views[:3]), plain.eval()(views[:3]))
    assert len(passes) == 2


def test_where_nothing_can_be_compiled_the_setting_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def backend(graph: torch.fx.GraphModule, inputs: list[torch.Tensor]) -> Callable[..., object]:
        raise RuntimeError("no C compiler")

    compiler = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, dynamic, options: compiler(function, backend=backend))
    encoder = tiny()
    encoder.compile_training()
    with pytest.raises(
        UserError, match=r"--train\.compile true: torch\.compile failed .*no C compiler.*: set it to false"
    ):
        encoder(torch.zeros(2, 16, 16, 3, dtype=torch.uint8))
