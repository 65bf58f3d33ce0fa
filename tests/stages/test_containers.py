"""A run on images in a container ends in the bytes of the same run on files, and so does its bundle."""

import csv
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from supcon.bundle.infer import predict_submission
from supcon.bundle.manifest import read_bundle
from supcon.commands import bundle
from supcon.errors import UserError
from supcon.images import hdf5
from supcon.images.decode import decode
from tests.bundle.test_infer import bundle_at
from tests.conftest import REPOSITORY, run_all, run_command, run_stage, write_competition

RUN = Path("runs/cross_entropy")
Write = Callable[[Path, list[Path]], object]


def keys(target: Path, files: list[Path]) -> None:
    with h5py.File(target.with_suffix(".hdf5"), "w") as file:
        for path in files:
            file.create_dataset(path.stem, data=np.void(path.read_bytes()))


def stacked(files: list[Path]) -> np.ndarray:
    return np.stack([decode(path) for path in files])


def npy(target: Path, files: list[Path]) -> None:
    np.save(target.with_suffix(".npy"), stacked(files))


def npz(target: Path, files: list[Path]) -> None:
    np.savez_compressed(target.with_suffix(".npz"), images=stacked(files))


def chunked(target: Path, files: list[Path]) -> None:
    with h5py.File(target.with_suffix(".h5"), "w") as file:
        file.create_dataset("images", data=stacked(files), chunks=(7, 18, 20, 3), compression="gzip")


def parquet(target: Path, files: list[Path]) -> None:
    columns: dict[str, Any] = {"id": [path.stem for path in files]}
    columns["image"] = [{"bytes": path.read_bytes(), "path": path.name} for path in files]
    pq.write_table(pa.table(columns), target.with_suffix(".parquet"))


def number_rows(folder: Path) -> None:
    """Let tables say which row of the array is an id's image."""
    with (folder / "train.csv").open() as file:
        rows = list(csv.DictReader(file))
    (folder / "train.csv").write_text(
        "id,label,row\n" + "".join(f"{row['id']},{row['label']},{number}\n" for number, row in enumerate(rows))
    )
    ids = [line.split(",")[0] for line in (folder / "sample_submission.csv").read_text().splitlines()[1:]]
    (folder / "test.csv").write_text("id,row\n" + "".join(f"{id_},{number}\n" for number, id_ in enumerate(ids)))


def packed(folder: Path, write: Write) -> None:
    """Write the competition of the `finished` run with its images in a container for each part."""
    write_competition(folder, ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    for part in ("train", "test"):
        write(folder / f"{part}-images", sorted((folder / part).iterdir()))
        shutil.rmtree(folder / part)
    if write in (npy, npz, chunked):
        number_rows(folder)


def test_a_bundle_names_the_library_that_the_hosts_test_images_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed(tmp_path / "input", keys)
    monkeypatch.setitem(sys.modules, "h5py", None)
    bundle_of_labels = replace(bundle_at(tmp_path / "bundle"), classes=["001", "NA", "red"])
    with pytest.raises(UserError, match=r"test-images\.hdf5 holds what h5py reads"):
        predict_submission(bundle_of_labels, tmp_path / "input", tmp_path / "offline.csv")


@pytest.mark.slow
@pytest.mark.parametrize("write", [keys, npy, npz, chunked, parquet], ids=lambda write: write.__name__)
def test_a_run_on_a_container_is_the_run_on_files(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: Write
) -> None:
    monkeypatch.setattr(hdf5, "NEIGHBOURS", 100)  # so that the array in chunks is copied
    packed(tmp_path / "input", write)
    run_all(tmp_path)
    submission = (finished / "submissions" / "submission.csv").read_bytes()
    assert (tmp_path / "submissions" / "submission.csv").read_bytes() == submission
    for fold in range(3):
        path = RUN / f"fold{fold}" / "test.npz"
        assert (tmp_path / path).read_bytes() == (finished / path).read_bytes()
    bundle.main(["--root", str(tmp_path), "--config", str(REPOSITORY / "configs/cross_entropy.yaml")])
    monkeypatch.setattr("supcon.bundle.infer.WORK", tmp_path / "work")
    predict_submission(read_bundle(tmp_path / RUN / "bundle"), tmp_path / "input", tmp_path / "offline.csv")
    assert (tmp_path / "offline.csv").read_bytes() == submission
    copies = len(list((tmp_path / "cache").glob("rows-*")))
    assert copies == (2 if write in (npz, chunked) else 0)


def test_the_folds_of_a_container_are_the_folds_of_its_files(tmp_path: Path) -> None:
    packed(tmp_path / "a" / "input", keys)
    run_stage("make_folds", tmp_path / "a")
    write_competition(tmp_path / "b" / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    run_stage("make_folds", tmp_path / "b")
    assert (tmp_path / "a/folds/folds.csv").read_bytes() == (tmp_path / "b/folds/folds.csv").read_bytes()


def test_doctor_ends_in_one_line_where_a_container_is_damaged(tmp_path: Path) -> None:
    packed(tmp_path / "input", keys)
    path = tmp_path / "input" / "train-images.hdf5"
    path.write_bytes(path.read_bytes()[:5000])
    result = run_command("doctor", tmp_path, "--quick")
    assert result.returncode == 2
    assert "train-images.hdf5 is not a whole HDF5 file" in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_stage_names_the_image_that_is_no_longer_in_its_container(tmp_path: Path) -> None:
    packed(tmp_path / "input", keys)
    run_stage("make_folds", tmp_path)
    with h5py.File(tmp_path / "input" / "train-images.hdf5", "a") as file:
        del file["a007"]
    with pytest.raises(UserError, match="1 of 60 rows have no image, first the id 'a007'"):
        run_stage("finetune", tmp_path, "--fold=0")
