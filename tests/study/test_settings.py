"""What a study takes its settings from, and what of them all variants share."""

import dataclasses
from pathlib import Path

import pytest

from supcon.commands import study
from supcon.errors import UserError
from supcon.run.experiment import Experiment
from supcon.settings import Request
from supcon.settings.sources import builtin_in
from tests.study.conftest import BRIEF, NEVER, ROUNDS, play, replace_stages, write_study


def test_a_call_that_only_looks_leaves_no_settings_and_takes_those_of_before(
    played: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = played / "runs" / "tiny"
    before = {path: path.read_bytes() for path in [folder / "study.yaml", *folder.glob("variants/*.yaml")]}
    with pytest.raises(UserError, match=r"finetune\.lr 0\.002 -> 0\.01"):
        play(played, "--list", "--finetune.lr", "0.01")
    assert {path: path.read_bytes() for path in [folder / "study.yaml", *folder.glob("variants/*.yaml")]} == before
    assert "--finetune.lr 0.01" in capsys.readouterr().out


def test_one_precision_is_chosen_for_all_variants(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_study(root, {name: {**BRIEF[name], "train.precision": "auto"} for name in BRIEF}, ROUNDS)
    asked: list[str] = []

    def fastest(experiment: Experiment) -> Experiment:
        asked.append(experiment.request.run)
        settings = experiment.settings
        settings = dataclasses.replace(settings, train=dataclasses.replace(settings.train, precision="bfloat16"))
        return dataclasses.replace(experiment, request=dataclasses.replace(experiment.request, settings=settings))

    monkeypatch.setattr("supcon.study.runs.fastest_precision", fastest)
    called: list[Request] = []
    replace_stages(monkeypatch, dict.fromkeys(NEVER, called.append))
    for _ in range(2):  # the second call takes what the first one chose
        with pytest.raises(UserError, match="the baseline, failed"):
            play(root, "--force")
    assert asked == ["tiny-ce-s0"]
    assert {request.settings.train.precision for request in called} == {"bfloat16"}
    assert {request.run for request in called} == {"tiny-ce-s0", "tiny-two-s0"}


def test_a_metric_that_the_form_cannot_hold_ends_the_study_before_it_trains(root: Path, no_training: None) -> None:
    write_study(root, BRIEF, ROUNDS)
    with pytest.raises(UserError, match=r"--tune\.metric log_loss scores probabilities"):
        play(root, "--tune.metric=log_loss")


@pytest.mark.parametrize("key", ["data.builtin", "data.folds", "tune.metric"])
def test_variants_share_the_split_and_the_metric(root: Path, key: str) -> None:
    other = {"data.builtin": "fashion", "data.folds": 4, "tune.metric": "accuracy"}
    write_study(root, {"ce": {}, "odd": {key: other[key]}}, ROUNDS)
    with pytest.raises(UserError, match=f"variants: odd: {key} differs from the baseline's"):
        play(root)


def test_a_study_fills_an_empty_root_with_the_built_in_competition_that_it_is_given(
    tmp_path: Path, no_training: None, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(tmp_path, BRIEF, ROUNDS)
    play(tmp_path, "--list", "--data.builtin", "longtail50")
    assert builtin_in(tmp_path / "input") == "longtail50"
    play(tmp_path, "--list")
    assert "folds: done already" in capsys.readouterr().out
    with pytest.raises(UserError, match="holds the built-in competition longtail50: use another --root"):
        play(tmp_path, "--list", "--data.builtin=digits")


def test_options_that_do_not_fit_are_named(tmp_path: Path) -> None:
    path = write_study(tmp_path, {"ce": {}}, ROUNDS)
    for words, said in (
        (["--root", str(tmp_path)], "FILE is missing"),
        ([str(path), "--config", "x.yaml"], "names the config"),
        ([str(path), "--run", "a/b"], "'a/b' is not a folder name"),
        ([str(path), "--fold", "0"], "--fold"),
        ([str(path), "--time_budget", "2h"], "time_budget would choose the epochs: leave it out"),
        ([str(path), "--list", "--force"], "--force redoes cells, --list and --table-only train nothing"),
        ([str(path), "--finetune.lrr", "0.1"], r"finetune\.lrr"),
    ):
        with pytest.raises(UserError, match=said):
            study.main(words)
    assert not (tmp_path / "runs").exists()
