"""A bundle predicts offline what the run predicted, byte for byte, in a folder that holds nothing else."""

import csv
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from supcon.arrays import Labels
from supcon.bundle.infer import predict_submission
from supcon.bundle.manifest import read_bundle
from supcon.commands import bundle
from supcon.decision import ladder
from supcon.decision.crossfit import Decider
from supcon.decision.logits import Logits
from supcon.decision.rule import Rule
from supcon.errors import UserError
from supcon.run.stages import page_of
from tests.conftest import REPOSITORY, TINY, run_all, run_stage, write_competition

OFFLINE = REPOSITORY / "tests" / "bundle" / "offline.py"
FLAGS = ["--config", str(REPOSITORY / "configs/cross_entropy.yaml")]
RUN = Path("runs/cross_entropy")


@pytest.fixture(scope="module")
def labelled(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a finished run and its bundle; the host asks for labels."""
    root = tmp_path_factory.mktemp("labelled") / "root"
    shutil.copytree(finished, root)
    bundle.main(["--root", str(root), *FLAGS])
    return root


@pytest.fixture(scope="module")
def shares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another: the host asks for probabilities, and class means, mirrored views, bfloat16, ... have a say."""
    root = tmp_path_factory.mktemp("shares")
    write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    sample = root / "input" / "sample_submission.csv"
    ids = pd.read_csv(sample, dtype=str)["id"]
    sample.write_text("\ufeffid;red;001;NA\r\n" + "".join(f"{name};1;0;0\r\n" for name in ids), newline="")
    (root / "input" / "solution.csv").unlink()
    flags = (
        "--predict.class_mean_weight=0.3", "--predict.batch_size=5", "--data.test_size=12", "--data.fit=crop",
        "--augment.hflip=true", "--predict.views=4", "--tune.metric=log_loss", "--finetune.mode=mlp",
        "--finetune.contrastive_weight=0", "--finetune.logit_adjustment=1", "--model.encoder=test_efficientnet",
        "--train.precision=bfloat16", "--pretrain.epochs=1", "--finetune.epochs=4", "--data.pixel_range=data",
    )  # fmt: skip
    run_all(root, *flags)
    run_stage("bundle", root, *flags)
    return root


def test_the_range_of_the_training_images_is_in_the_bundle_as_numbers(shares: Path) -> None:
    manifest = json.loads((shares / RUN / "bundle" / "bundle.json").read_text())
    kept = json.loads(next((shares / "cache").glob("pixel-range-*.json")).read_text())
    assert manifest["settings"]["data"]["pixel_range"] == f"{kept['low']!r},{kept['high']!r}"
    assert (read_bundle(shares / RUN / "bundle").how.reading.low, kept["low"] < kept["high"]) == (kept["low"], True)


def unpack(root: Path, folder: Path) -> Path:
    """Unpack a root's bundle.zip into `folder` and put the host's test files beside it; return the bundle."""
    zipfile.ZipFile(root / RUN / "bundle.zip").extractall(folder)
    shutil.copytree(root / "input" / "test", folder / "data" / "test")
    shutil.copy(root / "input" / "sample_submission.csv", folder / "data")
    return folder / "bundle"


def run_notebook(folder: Path, format: str = "torch") -> "subprocess.CompletedProcess[str]":
    """Run the notebook in a fresh interpreter that sees nothing of the repository."""
    command = [sys.executable, "-I", str(OFFLINE), str(folder / "bundle" / "predict.ipynb"), format]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("form", ["labelled", "shares"])
def test_the_notebook_writes_the_same_bytes_offline(form: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    root = request.getfixturevalue(form)
    unpack(root, tmp_path)
    result = run_notebook(tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "submission.csv").read_bytes() == (root / "submissions" / "submission.csv").read_bytes()
    assert "12 of 12 rows predicted" in result.stdout
    assert "warning" not in result.stdout
    assert str(REPOSITORY) not in (tmp_path / "bundle" / "bundle.json").read_text()


def test_members_beside_the_head_have_their_say_offline_too(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(shutil.copytree(finished, tmp_path / "root"))
    flags = ("--predict.neighbours=7",)
    members = ("--tune.members=[class_means, neighbours]",)
    run_stage("predict", root, *flags, "--force")

    def alike(base: Rule, runs: Sequence[Logits], true: Labels) -> Rule:
        return replace(base, weights=(0.2, 0.3, 0.5), temperatures=(1.0, 0.5, 2.0))

    monkeypatch.setattr(ladder, "_with_members", alike)
    monkeypatch.setattr(Decider, "_error_of_gain", lambda *_: -10.0)  # every rung is taken
    monkeypatch.setattr(page_of("tune"), "available_cores", lambda: 1)  # in this process
    for stage in ("tune", "ensemble", "bundle"):
        run_stage(stage, root, *flags, *members, *["--force"] * (stage != "bundle"))
    rule = read_bundle(root / RUN / "bundle").rule
    assert (len(rule.weights), min(rule.weights) > 0) == (3, True)
    host = tmp_path / "host"
    unpack(root, host)
    result = run_notebook(host)
    assert result.returncode == 0, result.stderr
    assert (host / "submission.csv").read_bytes() == (root / "submissions" / "submission.csv").read_bytes()


def test_the_rows_asked_for_are_the_hosts_of_that_day(labelled: Path, tmp_path: Path) -> None:
    unpack(labelled, tmp_path)
    host = tmp_path / "data"
    known = pd.read_csv(labelled / "submissions" / "submission.csv", dtype=str, keep_default_na=False)
    shutil.copy(host / "test" / "b004.png", host / "test" / "new.png")
    asked = ["b007", "new", "b001", "b010"]  # and eight images that no row asks for
    (host / "sample_submission.csv").write_text("id,label\n" + "".join(f"{name},red\n" for name in asked))
    result = run_notebook(tmp_path)
    assert result.returncode == 0, result.stderr
    with (tmp_path / "submission.csv").open() as file:
        submitted = {row["id"]: row["label"] for row in csv.DictReader(file)}
    labels = known.set_index("id")["label"]
    assert submitted == {name: labels[{"new": "b004"}.get(name, name)] for name in asked}


def test_an_unreadable_image_is_named_and_gets_the_class_shares(shares: Path, tmp_path: Path) -> None:
    unpack(shares, tmp_path)
    (tmp_path / "data" / "test" / "b003.png").write_bytes(b"no image")
    result = run_notebook(tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.count("warning: ") == 1
    assert "b003.png" in result.stdout
    table = pd.read_csv(tmp_path / "submission.csv", sep=";", encoding="utf-8-sig", index_col="id")
    assert [table.columns[column] for column in np.argsort(table.loc["b003"].to_numpy())] == [
        "001",
        "NA",
        "red",
    ]  # 10, 20 and 30 training rows
    assert np.isfinite(table.to_numpy()).all()


def test_what_is_missing_is_said_in_one_line(labelled: Path, tmp_path: Path) -> None:
    packed = unpack(labelled, tmp_path)
    for gone, said in (
        (packed / "fold1" / "classifier.safetensors", "classifier.safetensors"),
        (tmp_path / "data" / "test" / "b003.png", "have no image, first the id 'b003'"),
    ):
        gone.rename(gone.with_suffix(".gone"))
        with pytest.raises(UserError, match=said) as error:
            predict_submission(read_bundle(packed), tmp_path / "data", tmp_path / "submission.csv")
        assert "\n" not in str(error.value)
        gone.with_suffix(".gone").rename(gone)
    (packed / "bundle.json").unlink()
    result = run_notebook(tmp_path)
    assert result.returncode != 0
    assert result.stderr.startswith("error: ")
    assert "has no bundle.json" in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "submission.csv").exists()


def test_the_bundle_is_whole_and_the_zip_holds_the_same(labelled: Path) -> None:
    folder = labelled / RUN / "bundle"
    files = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
    own = {"bundle.json", "decision.json", "resolved.yaml", "predict.ipynb", "README.md", "LICENSE"}
    assert {name for name in files if not name.startswith(("supcon/", "fold"))} == own
    assert {name for name in files if name.startswith("fold")} == {f"fold{k}/classifier.safetensors" for k in range(3)}
    with zipfile.ZipFile(labelled / RUN / "bundle.zip") as archive:
        assert {name.removeprefix("bundle/") for name in archive.namelist()} == files
        assert all(archive.read(f"bundle/{name}") == (folder / name).read_bytes() for name in files)
    notebook = json.loads((folder / "predict.ipynb").read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    assert not list((labelled / RUN).glob(".bundle*"))


def test_a_run_that_is_not_finished_has_no_bundle(root: Path) -> None:
    run_stage("make_folds", root)
    with pytest.raises(UserError, match=r"pretrain fold 0 .* is not done: run `python src/pretrain\.py"):
        bundle.main(["--root", str(root), *FLAGS, *TINY])
    assert not list((root / "runs").glob("*/*bundle*"))


def test_a_lost_weights_file_is_named_and_the_old_bundle_stays(labelled: Path, tmp_path: Path) -> None:
    shutil.copytree(labelled, tmp_path / "root")
    weights = tmp_path / "root" / RUN / "fold2" / "classifier.safetensors"
    weights.unlink()
    with pytest.raises(UserError, match=r"fold2/classifier\.safetensors is missing: run its stage again"):
        bundle.main(["--root", str(tmp_path / "root"), *FLAGS])
    assert (tmp_path / "root" / RUN / "bundle" / "bundle.json").exists()
    assert not list((tmp_path / "root" / RUN).glob(".bundle*"))


@pytest.mark.parametrize("name", ["fold1/classifier.safetensors", "decision.json", "bundle.json"])
def test_a_file_damaged_on_its_way_to_the_host_is_named(labelled: Path, tmp_path: Path, name: str) -> None:
    packed = unpack(labelled, tmp_path)
    content = bytearray((packed / name).read_bytes())
    content[len(content) // 2] ^= 1
    (packed / name).write_bytes(content)
    with pytest.raises(UserError, match=rf"{name} .*: copy the whole bundle again"):
        predict_submission(read_bundle(packed), tmp_path / "data", tmp_path / "submission.csv")
    assert not (tmp_path / "submission.csv").exists()


def test_a_model_that_is_not_finite_submits_nothing(labelled: Path, tmp_path: Path) -> None:
    packed = unpack(labelled, tmp_path)
    tensors = load_file(packed / "fold1" / "classifier.safetensors")
    next(tensor for name, tensor in tensors.items() if name.startswith("classifier."))[0] = torch.nan
    save_file(tensors, packed / "fold1" / "classifier.safetensors")
    unchecked = replace(read_bundle(packed), files={})  # as of an earlier version
    with pytest.raises(UserError, match=r"bundle/fold1: the logits of 'b000' are not finite"):
        predict_submission(unchecked, tmp_path / "data", tmp_path / "submission.csv")
    assert not (tmp_path / "submission.csv").exists()
