"""The competition that the README downloads: its images are columns of pixels, and it ends in a checked submission."""

import io
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest

from supcon.bundle.infer import predict_submission
from supcon.bundle.manifest import read_bundle
from tests.competition.host.fake import install_fake
from tests.test_run_sh import run


def digit_recognizer() -> bytes:
    """Return a zip of the host's files: 784 columns of pixels, test rows without ids, a sample that counts from 1."""
    draw = np.random.default_rng(0)
    head = ",".join(f"pixel{number}" for number in range(784))

    def lines(count: int, *, labelled: bool) -> str:
        digits = np.arange(count) % 10
        pixels = np.clip(draw.integers(0, 50, (count, 784)) + 150 * (np.arange(784) % 10 == digits[:, None]), 0, 255)
        first = [f"{digit}," * labelled for digit in digits]
        return "".join(f"{start}{','.join(map(str, row))}\n" for start, row in zip(first, pixels, strict=True))

    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("train.csv", f"label,{head}\n" + lines(60, labelled=True))
        archive.writestr("test.csv", f"{head}\n" + lines(12, labelled=False))
        archive.writestr("sample_submission.csv", "ImageId,Label\n" + "".join(f"{row},0\n" for row in range(1, 13)))
    return content.getvalue()


@pytest.mark.slow
def test_a_download_of_pixel_columns_ends_in_a_checked_submission(tmp_path: Path) -> None:
    fake, root = install_fake(tmp_path / "kaggle"), tmp_path / "root"
    fake.plays("download", digit_recognizer())
    path = f"{fake.place / 'bin'}:{os.environ['PATH']}"
    commands = (
        ["download", "digit-recognizer"], ["all", "--config", "configs/smoke.yaml"],
        ["check", str(root / "submissions" / "submission.csv")], ["bundle", "--config", "configs/smoke.yaml"],
    )  # fmt: skip
    said = ""
    for words in commands:
        result = run(*words, "--root", str(root), PATH=path)
        assert result.returncode == 0, result.stdout + result.stderr
        said += result.stdout
    assert "rows        60 to train on, 12 to predict" in said
    assert "classes     10, " in said
    assert "note        the images are the columns of pixels in train.csv and test.csv (28 x 28)" in said
    assert "submission.csv fits sample_submission.csv: 12 rows" in said
    submission = (root / "submissions" / "submission.csv").read_bytes()
    assert submission.splitlines()[1].startswith(b"1,")
    host = next((root / "cache").glob("unpacked-*"))
    predict_submission(read_bundle(root / "runs" / "smoke" / "bundle"), host, tmp_path / "offline.csv")
    assert (tmp_path / "offline.csv").read_bytes() == submission
