"""Printing never fails for want of an encoding."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import run_command, write_competition

ASCII = {**os.environ, "PYTHONIOENCODING": "ascii"}


def test_whatever_a_terminal_cannot_show_is_written_otherwise() -> None:
    code = "from supcon.errors import UserError, run_stage\n"
    code += "def main(_):\n    print('br\\u00fbl\\u00e9e \\U0001f98a')\n    raise UserError('cr\\u00e8me \\udcff')\n"
    done = subprocess.run([sys.executable, "-c", f"{code}run_stage(main)"], env=ASCII, capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (2, "br\\xfbl\\xe9e \\U0001f98a\n")
    assert done.stderr == "error: cr\\xe8me \\udcff\n"


@pytest.mark.parametrize("stage", ["doctor", "make_folds"])
def test_a_class_with_accents_is_told_in_plain_letters(stage: str, tmp_path: Path) -> None:
    write_competition(tmp_path / "input", ["crème brûlée"] * 6 + ["thé"] * 6)
    done = run_command(stage, tmp_path, *["--quick"] * (stage == "doctor"), env=ASCII)
    assert (done.returncode, done.stderr) == (0, "")
    assert stage != "doctor" or r"cr\xe8me br\xfbl\xe9e 6, th\xe9 6" in done.stdout
