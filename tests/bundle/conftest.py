"""A run with its bundles in other formats, each made once."""

import contextlib
import io
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import pytest

from supcon.bundle.formats import PINS
from supcon.commands import bundle
from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import parse
from tests.bundle.test_bundle import FLAGS, unpack
from tests.conftest import built_once, run_all, run_stage, write_competition

PLAY = (
    "--data.image_size=32", "--data.folds=2", "--predict.class_mean_weight=0.3", "--pretrain.epochs=0",
    "--finetune.epochs=8",
)  # fmt: skip
needs_packages = pytest.mark.skipif(
    any(find_spec(name) is None for name in PINS), reason="requirements-runtimes.txt is not installed"
)
both = pytest.mark.parametrize("format", ["onnx", "openvino"])


class Packed(NamedTuple):
    folder: Path  # holds the bundle and, beside it, the host's files
    printed: str


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a finished run: class means have a say, and a model on all rows does."""

    def build(folder: Path) -> None:
        write_competition(folder / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
        run_all(folder, *PLAY)
        for stage in ("finetune", "predict"):
            run_stage(stage, folder, *PLAY, "--fold=full")
        run_stage("ensemble", folder, *PLAY)

    return built_once(tmp_path_factory, "formats", build)


@pytest.fixture(scope="session")
def pack(run: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Packed]:
    """Bundle the run by some flags, once."""
    made: dict[tuple[str, ...], Packed] = {}

    def packed(*flags: str) -> Packed:
        if flags not in made:
            printed, folder = io.StringIO(), tmp_path_factory.mktemp("packed")
            with contextlib.redirect_stdout(printed):
                bundle.main(["--root", str(run), *FLAGS, *flags])
            unpack(run, folder)
            made[flags] = Packed(folder, printed.getvalue())
        return made[flags]

    return packed


@pytest.fixture
def experiment(run: Path) -> Experiment:
    return load_experiment(parse("", ["--root", str(run), *FLAGS]))
