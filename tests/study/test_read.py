"""What a study file may say, and how it is refused: one line that names the file, the key and the cure."""

import re
from pathlib import Path

import pytest

from supcon.commands.study import read_options
from supcon.errors import UserError
from supcon.run.stage import write_resolved
from supcon.study.read import Round, read_study
from supcon.study.runs import Runs
from tests.conftest import REPOSITORY

GOOD = """
config: configs/demo.yaml
flags: {data.image_size: 16}
baseline: ce
variants:
  ce: {pretrain.epochs: 0}
  joint:
rounds:
  - {folds: [0], seeds: [0, 1], keep: 0.5}
  - {folds: all, seeds: [0]}
"""


def read(folder: Path, text: str) -> Runs:
    path = folder / "tiny.yaml"
    path.write_text(text)
    return Runs(read_study(str(path)), folder, {})


def test_a_study_is_read_as_written(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GOOD)
    study = read_study(str(tmp_path / "tiny.yaml"))
    assert (study.name, study.baseline) == ("tiny", "ce")
    assert study.variants == {"ce": {"pretrain.epochs": 0}, "joint": {}}
    assert study.rounds == (Round((0,), (0, 1), 0.5), Round(None, (0,), None))
    assert Runs(study, tmp_path, {}).fold_count == 5
    tracked = read(tmp_path, GOOD.replace("{data.image_size: 16}", "{track: mlflow}"))
    assert tracked.request("joint", 0).settings.trackers == ["mlflow"]


@pytest.mark.parametrize(
    ("keep", "contenders", "kept"), [(None, 9, 9), (2, 9, 2), (2, 1, 1), (0.34, 9, 3), (0.34, 1, 1), (0.01, 9, 1)]
)
def test_a_round_keeps_a_number_or_a_part_but_never_none(keep: float | None, contenders: int, kept: int) -> None:
    assert Round((0,), (0,), keep).kept(contenders) == kept


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("config: configs/demo.yaml", "config: [", r"tiny\.yaml is not YAML"),
        ("config: configs/demo.yaml", "", r"config is missing: name the file"),
        ("config: configs/demo.yaml", "config: configs/dmo.yaml", r"dmo\.yaml: no such file"),
        ("config:", "repeat: 3\nconfig:", r"unknown key 'repeat': the keys are config, flags"),
        ("baseline: ce", "", r"baseline None is none of the variants: ce, joint"),
        ("baseline: ce", "baseline: cross", r"baseline 'cross' is none of the variants: ce, joint"),
        ("  ce: {pretrain.epochs: 0}\n  joint:\n", "", r"variants is empty"),
        ("rounds:", "over: {joint: cross}\nrounds:", r"over: cross is none of the variants: ce, joint"),
        ("rounds:", "over: {cross: ce}\nrounds:", r"over: cross is none of the variants: ce, joint"),
        ("rounds:", "over: [joint, ce]\nrounds:", r"over: give variants with what each is compared with"),
        ("  joint:", "  jo/int:", r"variants: 'jo/int' is not a folder name: use letters"),
        ("  joint:", "  no:", r"variants: False is not a folder name.*in quotes"),
        ("  joint:", "  joint: 3", r"variants: joint: give settings by dotted key"),
        ("  joint:", "  joint: {pretrain: {epochs: 1}}", r"variants: joint: give settings by dotted key"),
        ("  joint:", "  joint: {train.seed: 1}", r"variants: joint: train\.seed is set by the rounds"),
        ("  joint:", "  joint: {pretrain.epoch: 1}", r"variants: joint: .*pretrain\.epoch\b"),
        ("  joint:", "  joint: {pretrain.epochs: -1}", r"variants: joint: --pretrain\.epochs -1 is out of bounds"),
        ("  joint:", "  joint: {pretrain.epochs: many}", r"variants: joint: .*pretrain\.epochs"),
        ("  joint:", "  joint: {data.fold_seed: 1}", r"variants: joint: data\.fold_seed differs.*move it to flags"),
        ("data.image_size: 16", "data.imagesize: 16", r"data\.imagesize"),
        ("folds: [0]", "folds: [5]", r"rounds: fold 5: the folds are 0 to 4"),
        ("folds: [0]", "folds: 0", r"rounds, number 1: folds 0: give a list .*, or all"),
        ("folds: [0]", "folds: []", r"rounds, number 1: folds \[\]: give a list"),
        ("seeds: [0, 1]", "seeds: [-1]", r"rounds, number 1: seeds \[-1\]: give a list"),
        ("seeds: [0, 1]", "seed: [0]", r"rounds, number 1: unknown key 'seed': the keys are folds, seeds, keep"),
        ("keep: 0.5", "keep: 1.0", r"rounds, number 1: keep 1\.0 must be a whole number from 1, or a part"),
        ("keep: 0.5", "keep: true", r"rounds, number 1: keep True must be"),
        (GOOD[GOOD.index("rounds:") :], "rounds: []", r"rounds is missing: give a list"),
        ("seeds: [0, 1]", "seeds: [99999999999]", r"variants: ce: --train\.seed 99999999999 is out of bounds"),
        ("config:", "rounds: []\nconfig:", r"is not YAML: 'rounds' is there twice"),
        ("  joint:", "  joint:\n  joint: {pretrain.lr: 0.1}", r"is not YAML: 'joint' is there twice"),
        ("  joint:", "  joint: 0", r"variants: joint: give settings by dotted key"),
        ("  joint:", "  joint: {pretrain.lr: 2020-01-01}", r"variants: joint: pretrain\.lr: 2020-01-01 is no number"),
        ("  joint:", "  joint: {pretrain.lr: 2020-99-99}", r"is not YAML"),
        ("  joint:", "  joint: {run: other}", r"variants: joint: give settings by dotted key"),
        ("{data.image_size: 16}", "{time_budget: 2h}", r"flags: give settings by dotted key"),
        ("{data.image_size: 16}", "[]", r"flags: give settings by dotted key"),
        ("baseline: ce", "baseline: [ce]", r"baseline \['ce'\] is none of the variants"),
        ("config: configs/demo.yaml", "config: " + "[" * 3000, r"is not YAML"),
        ("  joint:", f"  {'j' * 230}:", r"variants: j+: --run '\.tiny-j+' is not a folder name"),
    ],
)
def test_what_is_wrong_is_named_with_its_cure(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in GOOD
    with pytest.raises(UserError, match=said) as caught:
        read(tmp_path, GOOD.replace(old, new, 1))
    assert str(caught.value).startswith(str(tmp_path / "tiny.yaml"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_the_last_bad_variant_is_found_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="worse"):
        read(tmp_path, GOOD.replace("rounds:", "  worse: {finetune.views: 0}\nrounds:"))
    assert [path.name for path in tmp_path.iterdir()] == ["tiny.yaml"]


def test_a_missing_file_is_named() -> None:
    with pytest.raises(UserError, match=r"nowhere\.yaml: no such study file"):
        read_study("nowhere.yaml")


@pytest.mark.parametrize("path", sorted((REPOSITORY / "studies").rglob("*.yaml")), ids=lambda path: path.name)
def test_every_study_of_the_repository_is_understood(path: Path, tmp_path: Path) -> None:
    study = read_study(str(path))
    Runs(study, tmp_path, {})
    assert len(study.variants) > 1


def test_a_setting_on_the_command_line_holds_for_all_variants_but_yields_to_their_own(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GOOD)
    words = [
        str(tmp_path / "tiny.yaml"),
        "--pretrain.epochs=7",
        "--data.image_size",
        "24",
        "--nproc=2",
        "--track=wandb",
    ]
    options, flags = read_options(words)
    runs = Runs(read_study(options.file), tmp_path, flags)
    runs.keep()
    configs = {path.stem: path.read_text() for path in (tmp_path / "runs" / "tiny" / "variants").iterdir()}
    assert "epochs: 0\n" in configs["ce"]
    assert "epochs: 7\n" in configs["joint"]
    assert all("image_size: 24\n" in text and "nproc: 2\ntrack: wandb\n" in text for text in configs.values())


def test_a_later_call_starts_from_the_settings_of_an_earlier_one(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GOOD)
    study = read_study(str(tmp_path / "tiny.yaml"))
    Runs(
        study, tmp_path, {"pretrain.epochs": 7, "finetune.epochs": 3, "model.pretrained": True, "model.weights": "w"}
    ).keep()
    runs = Runs(study, tmp_path, {"finetune.epochs": 4})
    assert (runs.flags["pretrain.epochs"], runs.flags["finetune.epochs"]) == (7, 4)
    assert runs.flags["model.weights"] == str(Path("w").resolve())  # wherever the later call starts
    (tmp_path / "runs" / "tiny" / "study.yaml").write_text("flags: 3\n")
    with pytest.raises(UserError, match=r"study\.yaml is not what a study keeps: delete it"):
        Runs(study, tmp_path, {})


def test_weights_of_the_host_have_one_place_in_whatever_a_study_keeps(tmp_path: Path) -> None:
    (tmp_path / "tiny.yaml").write_text(GOOD)
    study, flags = read_study(str(tmp_path / "tiny.yaml")), {"model.weights": "kaggle:someone/birds/start.pth"}
    place = str(tmp_path / "cache" / "weights" / "someone" / "birds" / "start.pth")
    runs = Runs(study, tmp_path, {**flags, "model.pretrained": True})
    runs.keep()
    write_resolved(runs.request("ce", 0))
    resolved = tmp_path / "runs" / "tiny-ce-s0" / "resolved.yaml"
    assert "weights: kaggle:someone/birds/start.pth\n" in resolved.read_text()
    for later in (runs, Runs(study, tmp_path, {})):
        assert later.request("ce", 0).settings.model.weights == place


@pytest.mark.parametrize("words", [["--finetune.lr"], ["s.yaml", "0.1"], ["s.yaml", "--finetune.lr", "0.1", "more"]])
def test_words_that_are_no_setting_with_its_value_are_refused(words: list[str]) -> None:
    with pytest.raises(UserError, match=re.escape(words[-1])):
        read_options(words)
