"""The shell script: its commands, its set-up, and the smoke line as a new user types it."""

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY, built_once

OWN_OPTIONS = {  # of the commands that are no stages
    "study": ("FILE", "--run", "--list", "--table-only", "--force"),
    "submit": ("FILE", "--message", "--competition", "--wait", "--again", "--run"),
    "ledger": ("--refresh", "--competition"),
    "download": ("COMPETITION",),
    "report": ("--run", "--config", "--corruptions", "--rows", "--baseline", "--force"),
    "compare": ("RUN",),
    "fewshot": ("--run", "--ways", "--shots", "--queries", "--episodes", "--seed", "--space", "--on", "--rows"),
}
BACKEND = """
import zipfile

def build_editable(folder, *_):
    name = "supcon-0.1.0-py3-none-any.whl"
    about = "supcon-0.1.0.dist-info"
    with zipfile.ZipFile(f"{folder}/{name}", "w") as wheel:
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\\nName: supcon\\nVersion: 0.1.0\\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n")
        wheel.writestr(f"{about}/RECORD", "")
    return name
"""
SMOKE = ["all", "--config", "configs/smoke.yaml", "--root"]


def run(
    *words: str, cwd: Path = REPOSITORY, script: Path = REPOSITORY, **environment: str
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [str(script / "run.sh"), *words],
        cwd=cwd,
        env={**os.environ, "SUPCON_PYTHON": sys.executable, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def commands_of_the_script() -> set[str]:
    cases = re.findall(r"^  (?! )([a-z| -]+)\)", (REPOSITORY / "run.sh").read_text(), re.M)
    named = {name.strip() for case in cases for name in case.split("|")} - {"help", "-h", "--help"}
    pages = [*(REPOSITORY / "src").glob("*.py"), *(REPOSITORY / "src" / "supcon" / "commands").glob("[a-z]*.py")]
    return named | {path.stem.removeprefix("make_") for path in pages}


def test_alone_it_lists_every_command_with_an_example() -> None:
    result = run()
    assert result.returncode == 0
    for command in commands_of_the_script():
        assert re.search(rf"^  {command} .*\./run\.sh {command}\b", result.stdout, re.M), command


def test_every_stage_script_has_a_command_and_help() -> None:
    scripts = {path.stem.removeprefix("make_") for path in (REPOSITORY / "src").glob("*.py")}
    assert scripts <= commands_of_the_script()
    for command in sorted(scripts - set(OWN_OPTIONS)):
        result = run(command, "--help")
        assert result.returncode == 0
        assert "--finetune.contrastive_weight" in result.stdout
        assert ("--fold " in result.stdout) == (command in ("pseudo", "pretrain", "finetune", "soup", "predict"))


@pytest.mark.parametrize("command", OWN_OPTIONS)
def test_a_command_that_is_no_stage_explains_its_options(command: str) -> None:
    result = run(command, "--help")
    assert result.returncode == 0
    for option in ("--root", *OWN_OPTIONS[command]):
        assert option in result.stdout


def test_an_unknown_command_and_a_wrong_interpreter_are_named() -> None:
    result = run("fly")
    assert result.returncode == 2
    assert "no command is called fly" in result.stderr
    result = run("setup", SUPCON_PYTHON="/nowhere/python")
    assert result.returncode == 2
    assert "SUPCON_PYTHON names '/nowhere/python'" in result.stderr


def test_the_slow_tests_run_when_all_are_asked_for_as_ci_does(tmp_path: Path) -> None:
    python = tmp_path / "python"  # says what it is asked to do
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 1 || echo "$*"\n')
    python.chmod(0o755)
    tools = ["-m ruff check src tests benchmarks", "-m ruff format --check src tests benchmarks", "-m mypy"]
    tests = "-m pytest -n auto --dist worksteal"
    said = {name: run(name, "-x", SUPCON_PYTHON=str(python)).stdout.splitlines() for name in ("test", "test-all")}
    assert said == {"test": [*tools, f"{tests} -m not slow -x"], "test-all": [*tools, f"{tests} -x"]}
    assert (REPOSITORY / ".ci" / "run").read_text().endswith("exec ./run.sh test-all\n")


def test_an_ensemble_of_averaged_weights_makes_and_predicts_them_first(tmp_path: Path) -> None:
    python = tmp_path / "python"  # says which stage it is asked for
    python.write_text('#!/bin/sh\n[ "$1" = -c ] && echo 1 || echo "${1##*/} ${*#$1}"\n')
    python.chmod(0o755)

    def said(*words: str) -> list[str]:
        return run("ensemble", *words, SUPCON_PYTHON=str(python)).stdout.splitlines()

    flags = ["--run", "s", "--runs", "a", "b"]
    stages = [line.split()[0] for line in said(*flags, "--soup", "greedy")]
    assert stages == ["soup.py", "predict.py", "tune.py", "ensemble.py"]
    side_by_side = said(*flags, "--soup=greedy", "--jobs", "2")
    assert side_by_side[0].endswith("supcon.cluster.folds soup predict --jobs 2 --run s --runs a b --soup=greedy")
    assert [line.split()[0] for line in side_by_side[1:]] == ["tune.py", "ensemble.py"]
    assert [line.split()[0] for line in said(*flags)] == ["tune.py", "ensemble.py"]
    refused = run("ensemble", *flags, "--soup", "greedy", "--fold", "1", SUPCON_PYTHON=str(python))
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "error: ensemble --soup is of all folds: ./run.sh soup takes --fold\n"


def copy_package(folder: Path) -> None:
    """Copy run.sh beside a package that installs without a network: its build backend is a file of its own."""
    shutil.copy(REPOSITORY / "run.sh", folder / "run.sh")
    backend = 'build-system = { requires = [], build-backend = "backend", backend-path = ["."] }\n'
    (folder / "pyproject.toml").write_text(backend)
    (folder / "backend.py").write_text(BACKEND)


def test_a_failed_install_says_what_to_do_and_a_whole_one_is_made_again_only_when_the_requirements_change(
    tmp_path: Path,
) -> None:
    copy_package(tmp_path)
    (tmp_path / "requirements.txt").write_text("no-such-package-of-anyone==1.2.3\n")
    result = run("setup", script=tmp_path, SUPCON_PYTHON="", PIP_NO_INDEX="1")
    assert result.returncode == 2
    last = result.stderr.strip().splitlines()[-1]
    assert "no-such-package-of-anyone==1.2.3" in last
    assert "./run.sh setup again" in last
    assert not (tmp_path / ".venv" / ".installed-requirements.txt").exists()

    (tmp_path / "requirements.txt").write_text("# nothing\n")
    said = [run("setup", script=tmp_path, SUPCON_PYTHON="").stderr for _ in range(2)]
    assert "installing requirements.txt" in said[0]
    assert said[1] == ""
    (tmp_path / "requirements.txt").write_text("# still nothing\n")
    assert "installing requirements.txt" in run("setup", script=tmp_path, SUPCON_PYTHON="").stderr


def test_a_stage_started_without_the_packages_says_so_in_one_line(tmp_path: Path) -> None:
    shutil.copytree(REPOSITORY / "src", tmp_path / "src")
    for page in sorted((tmp_path / "src").glob("*.py")):
        command = [sys.executable, "-S", str(page)]  # -S: no site-packages
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode == 2, page
        assert result.stderr == "error: the packages of requirements.txt are not installed: run ./run.sh setup\n"


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The smoke line, started from another folder."""

    def build(root: Path) -> None:
        result = run(*SMOKE, str(root), cwd=root, SUPCON_CORES="1")  # beside other tests
        assert result.returncode == 0, result.stderr
        (root / "said.txt").write_text(result.stdout)

    root = built_once(tmp_path_factory, "smoke", build)
    return root, (root / "said.txt").read_text()


def test_the_smoke_line_goes_from_an_empty_folder_to_a_checked_submission(smoke: tuple[Path, str]) -> None:
    root, output = smoke
    assert "it now holds the built-in competition" in output
    sample = (root / "input" / "sample_submission.csv").read_text().splitlines()
    submission = (root / "submissions" / "submission.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in submission] == [line.split(",")[0] for line in sample]
    assert len((root / "submissions" / "ledger.csv").read_text().splitlines()) == 2
    assert "private macro-F1, ensemble" in output
    assert not any("\r" in line for line in output.splitlines())  # no progress bars into a pipe


@pytest.mark.slow
def test_a_second_smoke_line_does_nothing_but_say_so(smoke: tuple[Path, str]) -> None:
    root, _ = smoke
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}
    started = time.time()
    result = run(*SMOKE, str(root))
    assert result.returncode == 0
    page, _, stages = result.stdout.partition("folds: ")
    assert page.startswith("input ")  # the doctor's
    assert all(line.endswith("done already") for line in stages.splitlines())
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()} == before
    assert time.time() - started < 60  # generous: docs/RESULTS.md has the measured time


def test_a_bad_call_stops_the_line_at_once(smoke: tuple[Path, str]) -> None:
    root, _ = smoke
    result = run(*SMOKE, str(root), "--finetune.epochs", "many")
    assert result.returncode == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
