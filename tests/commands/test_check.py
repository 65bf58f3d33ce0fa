"""Any file is checked against the sample, whoever made it."""

from pathlib import Path

import pytest

from supcon.errors import UserError
from tests.conftest import run_command, run_stage


def test_a_file_that_fits_is_said_to_fit(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sample = root / "input" / "sample_submission.csv"
    run_stage("check", root, str(sample))
    assert capsys.readouterr().out == f"{sample} fits sample_submission.csv: 12 rows, a label a row\n"


def test_the_first_line_that_does_not_fit_is_named(root: Path) -> None:
    path = root / "mine.csv"
    path.write_text((root / "input" / "sample_submission.csv").read_text().replace("b004,001", "b004,blue"))
    result = run_command("check", root, str(path))
    assert result.returncode == 2
    assert result.stderr == f"error: {path} line 6: 'blue' is no class of the training rows\n"
    with pytest.raises(UserError, match="FILE is missing"):
        run_stage("check", root)
    with pytest.raises(UserError, match=r"nowhere\.csv is missing"):
        run_stage("check", root, "nowhere.csv")
