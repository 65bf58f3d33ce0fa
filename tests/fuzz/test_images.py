"""Whatever an image file's bytes are: an image or a reason, by a process that neither crashes nor hangs."""

import subprocess
import sys
import tempfile
from datetime import timedelta
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import REPOSITORY
from tests.fuzz.budget import budget
from tests.fuzz.mutate import mutated
from tests.images.make import huge
from tests.images.test_decode import WHOLE
from tests.images.test_formats import FILES
from tests.images.tiffs import tiff

BATCH_S = 120  # generous: some mutations declare a hundred million pixels
OPEN = """
import sys
from pathlib import Path
import numpy as np
from supcon.errors import UserError
from supcon.images.cache import open_cache
from supcon.images.hashes import content_hashes
files, cache = sorted(Path(sys.argv[1]).iterdir()), Path(sys.argv[2])
try:
    images = open_cache(cache, files, content_hashes(cache, files), 24, sys.argv[3])
except UserError as error:
    sys.exit("crashed: " + str(error))
for number in range(len(files)):
    image, problem = images[number], images.problems.get(number)
    assert image.dtype == np.uint8 and image.ndim == 3 and image.shape[2] == 3 and image.size, image.shape
    assert problem is None or (problem and len(problem.splitlines()) == 1 and image.shape == (1, 1, 3)), problem
    assert (images.formats[number] == "") == (problem is not None) == (not images.sizes[number].all())
    print("image" if problem is None else problem)
"""
BANDS = np.random.default_rng(0).integers(0, 4096, (17, 13, 5)).astype(np.uint16)
TIFFS = [tiff(BANDS, rows=4), tiff(BANDS, tile=16, compression=8, predictor=2), tiff(BANDS / 7, planar=True)]
SOURCES = [*WHOLE.values(), *huge().values(), *FILES.values(), *TIFFS]


@st.composite
def files(draw: st.DrawFn) -> bytes:
    """A damaged image, or the head of one before the tail of another."""
    if draw(st.integers(0, 7)):
        return draw(mutated(draw(st.sampled_from(SOURCES)), 4))
    head, tail = draw(st.sampled_from(SOURCES)), draw(st.sampled_from(SOURCES))
    return head[: draw(st.integers(0, len(head)))] + tail[draw(st.integers(0, len(tail))) :]


@budget(40, timedelta(seconds=BATCH_S))
@given(st.lists(files(), min_size=20, max_size=50), st.sampled_from(["crop", "pad", "squash"]))
def test_damaged_images(contents: list[bytes], fit: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name) / "input"
        folder.mkdir()
        for number, content in enumerate(contents):
            (folder / f"{number:03d}.img").write_bytes(content)
        result = subprocess.run(
            [sys.executable, "-c", OPEN, str(folder), str(Path(name) / "cache"), fit],
            env={"PYTHONPATH": str(REPOSITORY / "src"), "PATH": "", "OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=BATCH_S,
        )
        assert result.returncode == 0, result.stderr
        assert len(result.stdout.splitlines()) == len(contents) + 1  # and the line that announces the size
