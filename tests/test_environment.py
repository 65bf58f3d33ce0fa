"""A stage runs in the interpreter that is meant, and says which packages there are not as they should be."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supcon import environment
from supcon.environment import HOST_RANGES, outside, read_ranges, version_of
from tests.conftest import REPOSITORY

PAGE = str(REPOSITORY / "src" / "make_folds.py")


def interpreter(folder: Path, name: str = "python") -> Path:
    """One that says that it was started, before it goes on as this one does."""
    path = folder / name
    path.write_text(f'#!/bin/sh\necho "this is {name}" >&2\nexec {sys.executable} "$@"\n')
    path.chmod(0o755)
    return path


def started(*words: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SUPCON_")}
    return subprocess.run(words, env=environment | variables, capture_output=True, text=True, check=False)


def test_a_stage_goes_on_in_the_interpreter_that_is_named_once(tmp_path: Path) -> None:
    named = interpreter(tmp_path)
    result = started(sys.executable, PAGE, "--help", SUPCON_PYTHON=str(named))
    assert result.returncode == 0, result.stderr
    assert result.stderr == "this is python\n"
    found = started(sys.executable, PAGE, "--help", SUPCON_PYTHON="python", PATH=f"{tmp_path}:{os.environ['PATH']}")
    assert found.stderr == "this is python\n"
    same = started(sys.executable, PAGE, "--help", SUPCON_PYTHON=sys.executable)
    assert (same.returncode, same.stderr) == (0, "")
    none = started(sys.executable, PAGE, SUPCON_PYTHON="/nowhere/python")
    assert (none.returncode, none.stderr) == (
        2,
        "error: SUPCON_PYTHON names '/nowhere/python', which is no interpreter\n",
    )


def test_what_is_no_interpreter_is_named(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    for text in ("#!/nowhere/at/all\n", "no program\n", "#!/bin/true\n"):
        broken.write_text(text)
        broken.chmod(0o755)
        result = started(sys.executable, PAGE, SUPCON_PYTHON=str(broken))
        assert (result.returncode, result.stderr.count("\n")) == (2, 1)
        assert "which is no interpreter" in result.stderr


def test_every_requirement_has_a_range_that_holds_its_pin() -> None:
    pins = dict(
        line.split("#")[0].strip().replace("[signatures]", "").split("==")
        for line in (REPOSITORY / "requirements.txt").read_text().splitlines()
        if "==" in line
    )
    ranges = read_ranges(HOST_RANGES)
    assert set(ranges) == set(pins)
    for name, pin in pins.items():
        first, beyond = (environment._numbers(version) for version in ranges[name])
        assert first <= environment._numbers(pin) < beyond, name


def test_packages_outside_their_range_are_a_line_each_and_absent_ones_end_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    versions = {name: pair[0] for name, pair in read_ranges(HOST_RANGES).items()}
    monkeypatch.setattr(environment, "version_of", lambda name: versions[name])
    monkeypatch.setattr(environment, "_ENVIRONMENT", tmp_path)
    monkeypatch.delenv("SUPCON_CHECKED", raising=False)
    environment.check_packages()
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("SUPCON_CHECKED")
    versions |= {"torch": "2.1.0+cu121", "numpy": "3.0"}
    environment.check_packages()
    assert capsys.readouterr().err.splitlines() == [
        "warning: torch 2.1.0+cu121 is outside >=2.6,<3: it may fail, or differ from what is tested",
        "warning: numpy 3.0 is outside >=1.26,<3: it may fail, or differ from what is tested",
    ]
    environment.check_packages()  # once for all processes of a command
    assert capsys.readouterr().err == ""
    monkeypatch.delenv("SUPCON_CHECKED")
    versions |= {"optuna": "", "albumentations": ""}
    with pytest.raises(SystemExit) as ended:
        environment.check_packages()
    assert ended.value.code == 2
    assert f"error: {sys.executable} lacks albumentations, optuna: " in capsys.readouterr().err


def test_opencv_counts_under_any_of_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        if name == "opencv-contrib-python":
            return "4.10.0.84"
        raise environment.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(environment.metadata, "version", version)
    assert version_of("opencv-python-headless") == "4.10.0.84"
    assert version_of("torch") == ""
    assert outside({"opencv-python-headless": ("4.11", "6"), "torch": ("2.6", "3")}) == [
        "opencv-python-headless 4.10.0.84 is outside >=4.11,<6"
    ]
