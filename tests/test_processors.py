"""Numbers hold on other processors: the numerical tests with the instructions that those have, in a process each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

NUMERICAL = (
    "tests/losses", "tests/metrics", "tests/decision", "tests/training/test_sampler.py",
    "tests/training/model/test_convolutions.py", "tests/training/model/test_fused_batch_norm.py",
    "tests/training/model/test_class_means.py", "tests/training/test_gradcache.py", "tests/training/test_key_queue.py",
    "tests/training/test_mixing.py", "tests/training/test_objectives.py",
)  # fmt: skip
OF_NO_NUMBERS = (
    "--ignore=tests/decision/test_search.py", "--ignore=tests/losses/test_arguments.py",
    "--deselect=tests/losses/test_cost.py::test_no_tensor_grows_with_the_square_of_the_batch",
    "--deselect=tests/losses/test_cost.py::test_what_is_kept_for_backward_doubles_with_the_batch",
)  # fmt: skip
PROCESSORS = {
    "without vectors": {"ATEN_CPU_CAPABILITY": "default"},
    "AVX2": {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
}


def test_the_numerical_tests_are_where_they_are_looked_for() -> None:
    places = [*NUMERICAL, *(option.partition("=")[2].partition("::")[0] for option in OF_NO_NUMBERS)]
    assert [place for place in places if not (REPOSITORY / place).exists()] == []


@pytest.mark.slow
@pytest.mark.parametrize("threads", ["1", "2"])
@pytest.mark.parametrize("processor", PROCESSORS)
def test_the_numerical_tests_pass_on_another_processor(processor: str, threads: str, tmp_path: Path) -> None:
    own = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_XDIST")}
    options = ["-q", "-p", "no:xdist", "-p", "no:cacheprovider", "-m", "not slow and not gpu"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, f"--basetemp={tmp_path / 'pytest'}", *OF_NO_NUMBERS, *NUMERICAL],
        cwd=REPOSITORY,
        # threads that wait sleep: the cores are those of the tests beside these, too
        env={**own, **PROCESSORS[processor], "OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "passive"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-2000:]
