"""What is damaged on disk is named with the command that makes it anew; it is neither used nor published."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from supcon.commands import compare, fewshot
from supcon.errors import UserError
from supcon.storage.files import read_json, read_npz, write_npz, write_sealed
from supcon.storage.processes import MACHINE
from tests.conftest import STAGES, accept_changes, run_stage

RUN = Path("runs/cross_entropy")


@pytest.fixture
def damaged(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished root, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "root"))


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


READERS: list[tuple[str, str, str]] = [  # the file, who reads it, the stage that makes it anew
    ("fold0/encoder.safetensors", "finetune --fold=0 --force", "pretrain --fold 0"),
    ("fold0/classifier.safetensors", "predict --fold=0 --force", "finetune --fold 0"),
    ("fold2/classifier.safetensors", "bundle", "finetune --fold 2"),
    ("fold1/oof.npz", "tune --force", "predict --fold 1"),
    ("fold1/test.npz", "ensemble --force", "predict --fold 1"),
    ("decision.json", "ensemble --force", "tune"),
    ("decision.json", "bundle", "tune"),
    ("decision.json", "report", "tune"),
    ("cross_fitted.csv", "report", "tune"),
    ("fold1/embeddings.npz", "report", "predict --fold 1"),
    ("fold0/finetune.csv", "report", "finetune --fold 0"),
    ("scores.json", "report", "ensemble"),
]


@pytest.mark.parametrize(("file", "reader", "maker"), READERS, ids=[f"{file}, {who}" for file, who, _ in READERS])
def test_a_flipped_bit_is_told_by_whoever_reads_the_file(damaged: Path, file: str, reader: str, maker: str) -> None:
    flip(damaged / RUN / file)
    name, *flags = reader.split()
    stage, *fold = maker.split(" ", 1)
    command = rf"`python src/{stage}\.py .*--run cross_entropy {''.join(fold)} ?--force` makes it anew"
    with pytest.raises(UserError, match=rf"{Path(file).name} has changed since it was written.*{command}"):
        run_stage(name, damaged, *flags)


def test_few_shot_episodes_and_comparisons_refuse_it_too(damaged: Path) -> None:
    shutil.copytree(damaged / RUN, damaged / "runs" / "other")
    flip(damaged / "runs/other/fold0/oof.npz")
    flip(damaged / "runs/other/fold0/embeddings.npz")
    with pytest.raises(UserError, match=r"runs/other/fold0/oof\.npz has changed since it was written"):
        compare.main(["--root", str(damaged), "cross_entropy", "other"])
    with pytest.raises(UserError, match=r"embeddings\.npz has changed since it was written"):
        fewshot.main(["--root", str(damaged), "--run=other", "--ways=2", "--episodes=2"])


def test_finished_work_of_another_size_stops_the_stage_and_force_makes_it_anew(damaged: Path) -> None:
    weights = damaged / RUN / "fold0" / "classifier.safetensors"
    before = weights.read_bytes()
    os.truncate(weights, 0)
    with pytest.raises(UserError, match=r"classifier\.safetensors is damaged \(0 bytes, [\d,]+ were written\): `"):
        run_stage("finetune", damaged)
    run_stage("finetune", damaged, "--fold=0", "--force")
    assert weights.read_bytes() == before
    run_stage("predict", damaged)  # all that stands on it is as it was


def test_an_earlier_versions_run_goes_on_and_its_damage_is_told(damaged: Path) -> None:
    for path in damaged.rglob("*.done.json"):
        content = read_json(path)
        path.write_text(json.dumps({key: content[key] for key in content if key not in ("files", "checksum")}))
    for name in STAGES:
        run_stage(name, damaged)  # done already
    run_stage("ensemble", damaged, "--force")
    os.truncate(damaged / RUN / "fold1" / "classifier.safetensors", 0)
    with pytest.raises(UserError, match=r"fold1/classifier\.safetensors is damaged \(0 bytes\): `python"):
        run_stage("finetune", damaged)
    flip(damaged / RUN / "fold0" / "classifier.safetensors")
    with pytest.raises(UserError, match=r"classifier\.safetensors has changed since it was written"):
        run_stage("predict", damaged, "--fold=0", "--force")


def test_weights_that_are_not_finite_predict_nothing(damaged: Path) -> None:
    folder = damaged / RUN / "fold1"
    tensors = load_file(folder / "classifier.safetensors")
    name = next(name for name in tensors if name.startswith("classifier.") and name.endswith("weight"))
    tensors[name][0, 0] = torch.nan
    save_file(tensors, folder / "classifier.safetensors")
    accept_changes(folder)
    with pytest.raises(UserError, match=r"fold1/oof\.npz: the logits of 'a\d+' \(and .*\) are not finite: .*train"):
        run_stage("predict", damaged, "--fold=1", "--force")
    assert not (folder / "predict.done.json").exists()


@pytest.mark.parametrize(("file", "stage"), [("oof.npz", "tune"), ("test.npz", "ensemble")])
def test_a_logit_that_is_not_finite_makes_no_decision_and_no_submission(damaged: Path, file: str, stage: str) -> None:
    path = damaged / RUN / "fold2" / file
    arrays = read_npz(path)
    arrays["logits"][3, 0, 1] = np.nan
    write_npz(path, arrays)
    accept_changes(path.parent)
    message = rf"fold2/{file}: the logits of '{arrays['ids'][3]}' are not finite"
    with pytest.raises(UserError, match=message):
        run_stage("tune", damaged, "--force")
    shutil.copytree(damaged / RUN, damaged / "runs" / "other")
    with pytest.raises(UserError, match=rf"run other: .*runs/other/{message}"):
        run_stage("tune", damaged, "--run=mix", "--runs", "other", "cross_entropy")


def test_changed_pixels_are_trained_on_by_no_stage(damaged: Path) -> None:
    (pixels,) = (damaged / "cache").glob("images-*/pixels-000.bin")
    pixels.write_bytes(bytes(pixels.stat().st_size))
    for name in ("predict", "finetune"):
        for workers in ("0", "1"):
            with pytest.raises(UserError, match=r"^\S+pixels-000\.bin is damaged \(image \d+\): delete \S+,"):
                run_stage(name, damaged, "--fold=0", "--force", f"--machine.workers={workers}")
    shutil.rmtree(pixels.parent)
    run_stage("finetune", damaged, "--fold=0")


def test_doctor_verifies_everything_and_names_each_damage_with_what_makes_it_anew(
    damaged: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_stage("doctor", damaged, "--verify")
    assert "72 images: none damaged" in capsys.readouterr().out
    for name in ("decision.json", "fold0/encoder.safetensors", "fold1/test.npz", "fold2/finetune.csv"):
        flip(damaged / RUN / name)
    (damaged / RUN / "fold2" / "predict.done.json").write_text("")
    write_sealed(damaged / RUN / "fold0" / "finetune.checkpoint.pt", lambda file: file.write(b"state" * 100))
    flip(damaged / RUN / "fold0" / "finetune.checkpoint.pt")
    (submission,) = (damaged / "submissions").glob("cross_entropy-*.csv")
    flip(submission)
    (pixels,) = (damaged / "cache").glob("images-*/pixels-000.bin")
    flip(pixels)
    with pytest.raises(UserError, match=r"and 7 more, each in a line above"):
        run_stage("doctor", damaged, "--verify")
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("damaged")]
    for file, cure in (
        ("decision.json", "src/tune.py"),
        ("encoder.safetensors", "src/pretrain.py"),
        ("test.npz", "src/predict.py"),
        ("finetune.csv", "src/finetune.py"),
        ("predict.done.json", "src/predict.py"),
        ("finetune.checkpoint.pt", "delete it"),
        (submission.name, "src/ensemble.py"),
        ("pixels-000.bin", "delete"),
    ):
        assert [file in line and cure in line for line in lines].count(True) == 1, (file, lines)


def test_what_a_killed_writer_left_goes_when_its_stage_begins_again(damaged: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    names = (RUN / "fold0" / f".test.npz.{MACHINE}-{dead.pid}.tmp", RUN / f".decision.json.{MACHINE}-{dead.pid}.tmp")
    for name in names:
        (damaged / name).write_bytes(b"half")
    run_stage("predict", damaged, "--fold=1", "--force")
    assert [(damaged / name).exists() for name in names] == [True, False]  # run's own: its tables were written anew
    run_stage("predict", damaged, "--fold=0", "--force")
    assert not (damaged / names[0]).exists()


DONE = [f"fold0/{name}.done.json" for name in ("pretrain", "finetune", "predict")] + ["tune.done.json"]


@pytest.mark.parametrize("file", [*DONE, "decision.json", "resolved.yaml", "optuna.journal", "fold0/finetune.csv"])
def test_a_folder_in_place_of_a_file_is_one_line(damaged: Path, file: str) -> None:
    path = damaged / RUN / file
    path.unlink()
    path.mkdir()
    reader = {"optuna.journal": "tune", "fold0/finetune.csv": "report", "decision.json": "report"}.get(file, "ensemble")
    if reader == "tune":
        (damaged / RUN / "tune.done.json").unlink()
    with pytest.raises(UserError, match=rf"{path.name} .*(a folder|a directory)"):
        run_stage(reader, damaged)


def test_a_ledger_that_is_damaged_stops_no_submission(damaged: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (damaged / "submissions" / "ledger.csv").write_bytes(b"")
    run_stage("ensemble", damaged, "--force")
    assert "ledger.csv is empty: it is called ledger-damaged-" in capsys.readouterr().out
    run_stage("ensemble", damaged)


@pytest.mark.parametrize("page", ["report", "bundle"])
def test_no_password_of_a_database_is_published(damaged: Path, page: str) -> None:
    resolved = damaged / RUN / "resolved.yaml"
    url = "mysql+pymysql://user:hunter22@host/x"
    resolved.write_text(resolved.read_text().replace("storage: ''", f"storage: {url}"))
    assert url in resolved.read_text()  # where later calls start from
    run_stage(page, damaged)
    if page == "report":
        text = (damaged / RUN / "report.html").read_text()
        assert "mysql+pymysql://***@host/x" in text
        assert "hunter22" not in text
        return
    for path in (damaged / RUN / "bundle").rglob("*"):
        assert not path.is_file() or b"hunter22" not in path.read_bytes()
    assert b"hunter22" not in (damaged / RUN / "bundle.zip").read_bytes()
    assert "storage" not in (damaged / RUN / "bundle" / "resolved.yaml").read_text()
