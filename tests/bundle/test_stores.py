"""Offline, a test image goes the way of the run's held-out images: through JPEG or reduced decoding."""

import json
from pathlib import Path

import numpy as np
import pytest

from supcon.bundle.infer import predict_submission
from supcon.bundle.manifest import read_bundle
from supcon.images.cache import ImageCache
from supcon.images.geometry import cached_side
from supcon.images.store import How, Store
from supcon.storage.files import read_checked_json, write_checked_json
from tests.bundle.test_bundle import RUN, run_notebook, unpack
from tests.conftest import run_all, run_stage, write_competition
from tests.stages.test_stores import enlarge

# predictions in probabilities, of which every digit is written, so that other pixels show
FLAGS = (
    "--tune.metric=log_loss",
    "--data.fit=crop",
    "--pretrain.epochs=0",
    "--finetune.epochs=4",
    "--finetune.mode=full",
)


def bundled(root: Path, *flags: str) -> Path:
    """Make a root with a finished run and its bundle; the host asks for probabilities."""
    write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    enlarge(root)
    sample = root / "input" / "sample_submission.csv"
    ids = [line.split(",")[0] for line in sample.read_text().splitlines()[1:]]
    sample.write_text("id,red,001,NA\n" + "".join(f"{name},1,0,0\n" for name in ids))
    (root / "input" / "solution.csv").unlink()
    run_all(root, *FLAGS, *flags)
    run_stage("bundle", root, *FLAGS, *flags)
    return root / RUN / "bundle"


@pytest.mark.parametrize("store", [Store("jpeg", 30), Store("files")], ids=lambda store: store.name)
def test_a_bundle_predicts_what_predict_predicted_whatever_is_kept(tmp_path: Path, store: Store) -> None:
    root = tmp_path / "root"
    folder = bundled(root, f"--data.store={store.name}", "--data.jpeg_quality=30", "--machine.workers=2")
    unpack(root, tmp_path / "away")
    result = run_notebook(tmp_path / "away")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "away" / "submission.csv").read_bytes() == (root / "submissions" / "submission.csv").read_bytes()
    bundle = read_bundle(folder)
    assert bundle.how == How(cached_side(16), "crop", store=store)
    (cache,) = (root / "cache").glob("images-*")
    images = ImageCache(cache)
    for number in range(12):  # test rows come last
        path = root / "input" / "test" / f"b{number:03d}.jpg"
        np.testing.assert_array_equal(bundle.how.decode(path), images[60 + number])


def test_the_manifest_names_what_is_kept_and_one_of_an_earlier_version_means_pixels(tmp_path: Path) -> None:
    folder = bundled(tmp_path)
    path = folder / "bundle.json"
    content = read_checked_json(path)
    assert content["settings"]["data"]["store"] == "pixels"
    predict_submission(read_bundle(folder), tmp_path / "input", tmp_path / "pixels.csv")
    results = {}
    for name, changes in (("jpeg", {"store": "jpeg", "jpeg_quality": 30}), ("earlier", {})):
        data = {
            key: value for key, value in content["settings"]["data"].items() if key not in ("store", "jpeg_quality")
        }
        write_checked_json(path, {**content, "settings": {**content["settings"], "data": data | changes}})
        predict_submission(read_bundle(folder), tmp_path / "input", tmp_path / "again.csv")
        results[name] = (tmp_path / "again.csv").read_bytes()
    assert results["earlier"] == (tmp_path / "pixels.csv").read_bytes()
    assert results["jpeg"] != results["earlier"]  # what is kept does matter
    assert json.loads(path.read_text())["settings"]["data"].get("store") is None
