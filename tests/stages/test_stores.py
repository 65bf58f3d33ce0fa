"""Whatever is kept of the images, a run keeps it, and every law with it."""

import json
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from supcon.errors import UserError
from tests.attacks.attack import permitted
from tests.conftest import REPOSITORY, STAGES, TINY, copied_root, run_all, run_command, run_stage, write_competition
from tests.stages.test_laws import prediction_bytes, run_folder, submission_bytes, wait_for_work

STORES = ["pixels", "jpeg", "files"]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what sets the bytes that are free on every disk."""
    usage = shutil.disk_usage("/")
    return lambda count: monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=count))


def enlarge(root: Path, factor: int = 5) -> None:
    """Write the images as larger JPEG, which are shrunk where they are cached, and decoded at a part of their size."""
    for path in (root / "input").rglob("*.png"):
        image = np.asarray(cv2.imread(str(path)))
        cv2.imwrite(str(path.with_suffix(".jpg")), cv2.resize(image, None, fx=factor, fy=factor))
        path.unlink()


def kept(root: Path) -> dict[str, object]:
    resolved = yaml.safe_load((run_folder(root) / "resolved.yaml").read_text())
    return {name: resolved["settings"]["data"].get(name) for name in ("store", "jpeg_quality")}


def fingerprint(root: Path, stage: str) -> dict[str, object]:
    content = json.loads((run_folder(root) / "fold0" / f"{stage}.done.json").read_text())["fingerprint"]
    return {key: content[key] for key in ("data.store", "data.jpeg_quality") if key in content}


def test_a_run_keeps_its_choice_however_free_the_disk_becomes(
    root: Path, free: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    free(50_000)
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0")
    assert "images: read from their files at each use, since pixels (" in capsys.readouterr().out
    assert kept(root) == {"store": "files", "jpeg_quality": 95}
    free(10**12)
    shutil.rmtree(root / "cache")
    for stage in ("pretrain", "finetune", "predict"):
        run_stage(stage, root, "--fold=0")
        assert fingerprint(root, stage) == {"data.store": "files"}
    assert "pretrain fold 0: done already" in (said := capsys.readouterr().out)
    assert "since pixels" not in said
    assert len(list((root / "cache").glob("images-*"))) == 1


def test_what_is_kept_is_part_of_the_fingerprint_where_that_is_not_pixels(root: Path) -> None:
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0")
    assert kept(root)["store"] == "pixels"
    assert fingerprint(root, "pretrain") == {}
    run_stage("pretrain", root, "--fold=0", "--data.store=pixels", "--data.jpeg_quality=50")  # done already
    with pytest.raises(UserError, match="pretrain fold 0 .* made otherwise: .*data.store pixels -> jpeg"):
        run_stage("pretrain", root, "--fold=0", "--data.store=jpeg")
    run_stage("pretrain", root, "--fold=0", "--data.store=jpeg", "--force")
    assert fingerprint(root, "pretrain") == {"data.store": "jpeg", "data.jpeg_quality": 95}
    run_stage("finetune", root, "--fold=0")  # starts from what the run has
    with pytest.raises(UserError, match="made otherwise: data.jpeg_quality 95 -> 80"):
        run_stage("finetune", root, "--fold=0", "--data.jpeg_quality=80")


def test_a_run_of_an_earlier_version_kept_pixels(
    finished: Path, tmp_path: Path, free: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    root = copied_root(finished, tmp_path / "root")
    path = run_folder(root) / "resolved.yaml"
    content = yaml.safe_load(path.read_text())
    for name in ("store", "jpeg_quality"):
        del content["settings"]["data"][name]
    path.write_text(yaml.safe_dump(content))
    shutil.rmtree(root / "cache")
    free(50_000)
    for stage in ("pretrain", "finetune", "predict", "tune"):
        run_stage(stage, root)
    assert capsys.readouterr().out.count("done already") == 3 * 3 + 1


def test_the_split_of_a_root_does_not_depend_on_what_later_runs_keep(root: Path) -> None:
    run_stage("make_folds", root)
    before = {path.name: path.read_bytes() for path in (root / "cache").glob("copies-of-*")}
    for store in STORES:
        run_stage("make_folds", root, f"--data.store={store}")
        run_stage("doctor", root, f"--data.store={store}", "--quick")
    assert {path.name: path.read_bytes() for path in (root / "cache").glob("copies-of-*")} == before
    assert len(before) == 1


def test_doctor_says_what_is_kept_and_the_run_does_not_contradict_it(
    root: Path, free: Callable[[int], None], capsys: pytest.CaptureFixture[str]
) -> None:
    free(50_000)
    run_stage("doctor", root, "--quick")
    said = capsys.readouterr().out
    assert said.count("images: read from their files at each use") == 1
    assert re.search("^disk .*no decoded images: each is decoded from its file at each use, 50 kB free", said, re.M)
    free(10**12)
    run_stage("make_folds", root)
    run_stage("pretrain", root, "--fold=0")
    assert kept(root)["store"] == "files"


@pytest.mark.slow
@pytest.mark.parametrize("store", STORES)
def test_a_killed_run_ends_like_an_uninterrupted_one_whatever_is_kept(tmp_path: Path, store: str) -> None:
    roots = [tmp_path / name for name in ("killed", "whole")]
    for root in roots:
        write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
        enlarge(root)
    killed, whole = roots
    flags = (f"--data.store={store}", "--machine.workers=2")
    run_all(whole, f"--data.store={store}")
    draw = random.Random(0)
    for script in STAGES:
        if script in ("pretrain", "finetune", "predict"):
            command = [sys.executable, str(REPOSITORY / f"src/{script}.py"), "--root", str(killed)]
            command += ["--config", str(REPOSITORY / "configs/cross_entropy.yaml"), *TINY, *flags]
            process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            wait_for_work(killed, script, process, draw.uniform(0.0, 0.4))
            process.send_signal(signal.SIGKILL)
            process.wait()
        result = run_command(script, killed, *flags)
        assert result.returncode == 0, result.stderr
    assert submission_bytes(killed) == submission_bytes(whole)
    for fold in range(3):
        assert prediction_bytes(killed, fold) == prediction_bytes(whole, fold)


LARGE = ("--data.image_size=200", "--data.fit=crop", "--pretrain.epochs=0", "--finetune.epochs=1")


@pytest.mark.slow
@pytest.mark.skipif(not permitted("unshare -m bash -c 'mount -t tmpfs tmpfs /mnt'")(), reason="no mount is permitted")
def test_a_run_needs_no_room_for_images_on_a_small_disk(tmp_path: Path) -> None:
    write_competition(tmp_path / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    enlarge(tmp_path, 12)
    root = tmp_path / "root"
    root.mkdir()
    words = [sys.executable, "-c", ALL, str(root), str(tmp_path / "input"), *LARGE]
    command = ["unshare", "-m", "bash", "-c", f'mount -t tmpfs -o size=8m tmpfs {root} && exec "$@"', "in", *words]
    for store, status, says in (
        ("pixels", 2, "use --data.store jpeg or files"),
        ("files", 0, "ensemble"),
        ("auto", 0, "images: kept as JPEG"),
    ):
        done = subprocess.run([*command, f"--data.store={store}"], capture_output=True, text=True, check=False)
        assert (done.returncode, says in done.stdout + done.stderr) == (status, True), done.stdout + done.stderr
    assert list(root.iterdir()) == []  # it was written elsewhere


ALL = """
import os, sys
from pathlib import Path
from supcon.errors import run_stage
from tests.conftest import run_all
root = Path(sys.argv[1])
(root / "input").symlink_to(sys.argv[2])
run_stage(lambda _: run_all(root, *sys.argv[3:]))
"""
