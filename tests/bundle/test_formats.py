"""A bundle for onnxruntime or OpenVINO predicts what torch's does, without torch, and says what it costs and gains."""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from supcon.bundle import formats
from supcon.bundle.formats import PINS, RUNTIME_RANGES, open_model
from supcon.bundle.infer import predict_submission
from supcon.bundle.judge import held_out_logits
from supcon.bundle.manifest import read_bundle
from supcon.bundle.write import ranges
from supcon.commands import bundle
from supcon.environment import outside
from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.run.runs import read_runs
from tests.bundle.conftest import Packed, both, needs_packages
from tests.bundle.test_bundle import FLAGS, run_notebook
from tests.conftest import REPOSITORY


@needs_packages
@both
def test_the_notebook_gives_torchs_labels_without_torch_and_offline(
    run: Path, pack: Callable[..., Packed], tmp_path: Path, format: str
) -> None:
    folder = Path(shutil.copytree(pack(f"--format={format}").folder, tmp_path / "host"))
    result = run_notebook(folder, format)
    assert result.returncode == 0, result.stderr
    assert (folder / "submission.csv").read_bytes() == (run / "submissions" / "submission.csv").read_bytes()
    assert "3 models, 2 views of each image, on cpu by " in result.stdout
    assert "warning" not in result.stdout
    files = {path.relative_to(folder / "bundle") for path in (folder / "bundle").rglob("*") if path.is_file()}
    assert not [path for path in files if path.suffix == ".safetensors" or path.name == "encoder.py"]
    listed = {Path(name) for name in read_bundle(folder / "bundle").files}
    assert {path for path in files if path.parts[0] in ("fold0", "fold1", "full")} <= listed


@needs_packages
@both
def test_in_float32_no_label_of_a_held_out_row_differs(pack: Callable[..., Packed], format: str) -> None:
    printed = pack(f"--format={format}").printed
    score = (
        r"cross-fitted macro-F1 (\S+) by {} float32, \1 by torch float32: \+0\.0000 \+- 0\.0000; 0 of 60 labels differ"
    )
    assert re.search(score.format(format), printed), printed
    speed = r"[\d.]+ images/s by {} float32, [\d.]+ by torch float32 \([\d.]+ times\), one model, 2 views each"
    assert re.search(speed.format(format), printed), printed
    assert "warning" not in printed


@pytest.mark.parametrize(
    ("format", "precision"),
    [
        ("torch", "bfloat16"),
        pytest.param("openvino", "bfloat16", marks=[needs_packages, pytest.mark.slow]),
        pytest.param("openvino", "int8", marks=needs_packages),
        pytest.param("onnx", "int8", marks=needs_packages),
    ],
)
def test_a_lower_precision_says_what_it_costs_and_is_used(
    pack: Callable[..., Packed], experiment: Experiment, format: str, precision: str
) -> None:
    if (format, precision) == ("openvino", "bfloat16"):
        from supcon.bundle.on_openvino import has_bfloat16

        if not has_bfloat16():
            pytest.skip("this CPU has no bfloat16")
    folder, printed = pack(f"--format={format}", f"--precision={precision}")
    difference = r"by {} {}, \d\.\d{{4}} by torch float32: [+-]\d\.\d{{4}} \+- \d\.\d{{4}}; \d+ of 60 labels differ"
    assert re.search(difference.format(format, precision), printed), printed
    assert re.search(rf"images/s by {format} {precision}, ", printed), printed
    packed = read_bundle(folder / "bundle")
    (logits,), ours = held_out_logits(experiment, packed), read_runs(experiment)[0].out_of_fold
    changes = np.abs(np.asarray(logits) - np.asarray(ours)).mean() / np.asarray(ours).std()
    assert 1e-5 < changes < 0.1
    labels = predict_submission(packed, folder / "data", folder / "submission.csv")["label"]
    full = pack()  # torch in float32
    expected = predict_submission(read_bundle(full.folder / "bundle"), full.folder / "data", full.folder / "ours.csv")
    assert (labels == expected["label"]).sum() >= 11  # of 12


@needs_packages
def test_int8_takes_less_than_half_of_the_bytes(pack: Callable[..., Packed]) -> None:
    sizes = [
        (pack("--format=onnx", *flags).folder / "bundle" / "fold0" / "encoder.onnx").stat().st_size
        for flags in ((), ("--precision=int8",))
    ]
    assert sizes[1] < sizes[0] / 2


@needs_packages
@both
def test_a_damaged_model_is_a_line(pack: Callable[..., Packed], tmp_path: Path, format: str) -> None:
    folder = Path(shutil.copytree(pack(f"--format={format}").folder, tmp_path / "host")) / "bundle"
    path = folder / "fold1" / ("encoder.onnx" if format == "onnx" else "encoder.xml")
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    packed = read_bundle(folder)
    with pytest.raises(UserError, match=rf"fold1/{path.name} is damaged: copy the whole bundle again"):
        open_model(packed, "fold1")
    with pytest.raises(UserError, match=rf"fold1/{path.name} could not be loaded \(.*\): copy the whole bundle again"):
        open_model(replace(packed, files={}), "fold1")


@pytest.mark.parametrize(
    ("flags", "missing"),
    [
        (("--format=onnx",), ["onnxscript", "onnxruntime"]),
        (("--format=openvino",), ["onnx", "openvino"]),
        (("--format=openvino", "--precision=int8"), ["onnxruntime"]),
    ],
)
def test_packages_that_are_missing_are_named_with_their_pins_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], missing: list[str]
) -> None:
    for name in PINS:
        monkeypatch.setitem(sys.modules, name, None if name in missing else pytest)
    pins = re.escape(" ".join(PINS[name] for name in missing))
    with pytest.raises(
        UserError, match=rf"{flags[0].replace('=', ' ')} needs .*-m pip install {pins} \(requirements-run"
    ):
        bundle.main(["--root", str(tmp_path), *FLAGS, *flags])


@needs_packages
@pytest.mark.parametrize(("format", "package"), [("onnx", "onnxruntime"), ("openvino", "openvino"), ("torch", "torch")])
def test_a_runtime_that_the_host_lacks_is_a_line(
    pack: Callable[..., Packed], monkeypatch: pytest.MonkeyPatch, format: str, package: str
) -> None:
    packed = read_bundle(pack(*[f"--format={format}"] * (format != "torch")).folder / "bundle")
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, f"supcon.bundle.on_{format}", raising=False)
    with pytest.raises(
        UserError, match=rf"need {package}, which is not installed here: .* -m pip install {package}, or"
    ):
        open_model(packed, "fold0")


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        (["--precision=int8"], "--precision int8: torch computes no int8"),
        (["--format=onnx", "--precision=bfloat16"], "--precision bfloat16: onnxruntime computes none on CPUs"),
        (["--format=onnx", "--gpu"], "--gpu: onnx runs on CPUs: leave it out"),
    ],
)
def test_what_a_runtime_cannot_do_is_refused_before_the_work(tmp_path: Path, flags: list[str], line: str) -> None:
    with pytest.raises(UserError, match=line):
        bundle.main(["--root", str(tmp_path), *FLAGS, *flags])


@needs_packages
def test_a_cpu_without_the_arithmetic_is_told(
    pack: Callable[..., Packed],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    run: Path,
) -> None:
    from supcon.bundle import on_openvino

    packed = read_bundle(pack("--format=openvino", "--precision=int8").folder / "bundle")
    monkeypatch.setattr(formats, "_CPU_FACTS", tmp_path / "cpuinfo")
    monkeypatch.setattr(on_openvino, "has_bfloat16", lambda: False)
    for flags, warnings in (("fma avx2 avx512f", 1), ("fma avx2 avx512_vnni", 0), ("asimd", 0)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        on_openvino._say.cache_clear()
        for name in packed.models:
            open_model(packed, name)
        assert capsys.readouterr().out.count("warning: this CPU has no VNNI") == warnings
    open_model(replace(packed, precision="bfloat16"), "fold0")
    assert "warning: this CPU has no bfloat16: computed in float32" in capsys.readouterr().out
    with pytest.raises(UserError, match="--precision bfloat16: this CPU has none"):
        bundle.main(["--root", str(run), *FLAGS, "--format=openvino", "--precision=bfloat16"])


@needs_packages
def test_onnxruntime_adds_products_of_int8_exactly_where_there_is_no_vnni(
    pack: Callable[..., Packed], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from supcon.bundle.on_onnx import session_options

    packed, exactly = read_bundle(pack().folder / "bundle"), "session.x64quantprecision"
    monkeypatch.setattr(formats, "_CPU_FACTS", tmp_path / "cpuinfo")
    (tmp_path / "cpuinfo").write_text("flags : avx2 avx_vnni\n")
    with pytest.raises(RuntimeError, match=exactly):
        session_options(packed).get_session_config_entry(exactly)
    (tmp_path / "cpuinfo").write_text("flags : avx2\n")
    assert session_options(packed).get_session_config_entry(exactly) == "1"


@needs_packages
def test_openvino_is_imported_without_what_tells_its_maker() -> None:
    code = "import sys, supcon.bundle.on_openvino; sys.exit(sys.modules['openvino_telemetry'] is not None)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_pins_are_those_of_the_requirements_and_lie_in_the_ranges() -> None:
    lines = {line.split("  #")[0] for line in (REPOSITORY / "requirements-runtimes.txt").read_text().splitlines()}
    assert set(PINS.values()) == {line for line in lines if "==" in line}
    if find_spec("openvino") and find_spec("onnxruntime"):
        assert outside(RUNTIME_RANGES) == []
    assert set(ranges("torch")) - set(ranges("onnx")) == {"torch", "timm", "safetensors"}
    assert set(ranges("openvino")) - set(ranges("torch")) == {"openvino"}
