"""The peak memory in done.json."""

import json
import subprocess
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from supcon.storage.processes import peak_memory
from tests.conftest import REPOSITORY


def peak_of(code: str) -> int:
    code = f"import sys; sys.path.insert(0, 'src'); {code}; from supcon.storage.processes import peak_memory\n"
    code += "print(peak_memory()['peak_memory_mb'], 'torch' in sys.modules)"
    # by way of a small process: at first a process has the peak of the one that started it, and this one may be large
    small = [sys.executable, "-c", "import subprocess, sys; subprocess.run(sys.argv[1:], check=True)"]
    command = [*small, sys.executable, "-c", code]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    peak, torch = result.stdout.split()
    assert torch == "False"
    return int(peak)


def test_the_peak_stays_when_the_memory_is_given_back() -> None:
    assert 300 < peak_of("held = b'x' * (300 << 20); del held") < 360


def test_a_child_counts_where_it_took_more() -> None:
    child = "import subprocess; subprocess.run([sys.executable, '-c', 'b\"x\" * (300 << 20)'])"
    assert 300 < peak_of(child) < 360


def test_a_gpu_counts_where_it_was_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for used in (True, False):
        cuda = types.SimpleNamespace(is_initialized=lambda used=used: used, max_memory_allocated=lambda: 5 * 2**20)
        monkeypatch.setitem(sys.modules, "torch", types.SimpleNamespace(cuda=cuda))
        assert peak_memory().get("peak_gpu_memory_mb") == (5 if used else None)


def test_every_stage_of_a_run_tells_its_peak(finished: Path) -> None:
    done = [json.loads(path.read_text()) for path in (finished / "runs").rglob("*.done.json")]
    assert len(done) == 3 * 3 + 2
    peaks = np.array([content["peak_memory_mb"] for content in done])
    assert ((peaks > 100) & (peaks < 20_000)).all()
    assert not any("peak" in key for content in done for key in content["fingerprint"])
