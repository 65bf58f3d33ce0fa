"""`train.precision auto`: the fastest precision on this machine is chosen once and kept."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from supcon.errors import UserError
from supcon.training import precision
from tests.conftest import run_command, run_stage

TRIAL = precision.Trial(host="here", encoder="test_resnet", side=16, images=24, device="cpu", threads=1)
LEFT_OUT = [precision.NOT_FOR_THIS] * 2
AUTO = ("--train.precision=auto", "--pretrain.epochs=0", "--finetune.epochs=1", "--fold", "0")


def resolved(root: Path, run: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((root / "runs" / run / "resolved.yaml").read_text())
    return content


@pytest.mark.slow
def test_the_first_stage_chooses_and_later_ones_and_other_runs_keep_the_choice(root: Path) -> None:
    run_stage("make_folds", root)
    first = run_command("finetune", root, *AUTO, "--run=one")
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("precision:") == 2  # that it is timed, and what came out
    content = resolved(root, "one")
    assert content["settings"]["train"]["precision"] in ("float32", "bfloat16")
    assert set(content["measured"]["train.precision"]) == {  # float16 is for GPUs
        precision.name_of(*candidate) for candidate in precision.CANDIDATES if candidate[0] != "float16"
    }
    again = run_command("finetune", root, *AUTO, "--run=one")
    assert again.stdout == "finetune fold 0: done already\n"
    other = run_command("finetune", root, *AUTO, "--run=two")
    assert "timing" not in other.stdout
    assert resolved(root, "two")["settings"]["train"] == content["settings"]["train"]
    predicted = run_command("predict", root, "--run=one", "--fold", "0", *AUTO[:3])
    assert predicted.returncode == 0, predicted.stderr


def answers(monkeypatch: pytest.MonkeyPatch, *processes: tuple[int, list[float | str]]) -> list[list[Any]]:
    """Let the timing processes end with these statuses and speeds; return the candidates that each is given."""
    given: list[list[Any]] = []
    ends = iter(processes)

    def run(words: list[str], **options: object) -> "subprocess.CompletedProcess[str]":
        given.append(json.loads(words[-1])["candidates"])
        status, speeds = next(ends)
        out = "".join(json.dumps({"speed": speed}) + "\n" for speed in speeds)
        return subprocess.CompletedProcess(words, status, out, "error: no such model\n")

    monkeypatch.setattr(subprocess, "run", run)
    return given


def test_a_candidate_that_crashes_is_left_out_and_the_others_are_still_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    given = answers(monkeypatch, (-6, [100.0]), (0, [50.0, "not finite", *LEFT_OUT]))
    speeds = precision._time_candidates(TRIAL)
    assert list(speeds.values()) == [100.0, "fails", 50.0, "not finite", *LEFT_OUT]
    assert [len(candidates) for candidates in given] == [6, 4]


def test_a_setting_that_no_candidate_can_use_is_the_users_to_mend(monkeypatch: pytest.MonkeyPatch) -> None:
    answers(monkeypatch, (2, []))
    with pytest.raises(UserError, match="^no such model$"):
        precision._time_candidates(TRIAL)


@pytest.mark.parametrize(("speeds", "chosen"), [
    ([100.0, 104.0, 104.0, 104.0, *LEFT_OUT], ("float32", True)),  # too near to be told apart
    ([100.0, 106.0, 90.0, 109.0, *LEFT_OUT], ("bfloat16", True)),
    (["fails", 50.0, 106.0, "not finite", *LEFT_OUT], ("float32", False)),
    ([100.0, "left out", 90.0, "left out", 180.0, 150.0], ("float16", True)),
])  # fmt: skip
def test_a_later_candidate_is_chosen_only_when_clearly_faster(speeds: list[Any], chosen: tuple[str, bool]) -> None:
    names = [precision.name_of(*candidate) for candidate in precision.CANDIDATES]
    assert precision._fastest(dict(zip(names, speeds, strict=True))) == chosen


def test_where_nothing_works_the_message_says_what_to_try() -> None:
    names = [precision.name_of(*candidate) for candidate in precision.CANDIDATES]
    with pytest.raises(UserError, match="see what --train.precision float32 says"):
        precision._fastest(dict.fromkeys(names, "fails"))


def test_nothing_is_kept_where_nothing_works_so_that_the_next_call_tries_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    answers(monkeypatch, *[(-6, [])] * 6)
    with pytest.raises(UserError, match="no training step works here"):
        precision._time_and_keep(TRIAL, tmp_path / "kept.json")
    assert not (tmp_path / "kept.json").exists()


def test_kept_timings_that_are_damaged_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "precision.json"
    speeds = {precision.name_of(*candidate): 10.0 for candidate in precision.CANDIDATES}
    monkeypatch.setattr(precision, "_time_candidates", lambda trial: speeds)
    assert precision._kept_speeds(path) == {}
    assert precision._time_and_keep(TRIAL, path) == precision._kept_speeds(path) == speeds
    whole = path.read_text()
    for text in ("", "{}", whole[:50], whole.replace("10.0", "90.0", 1), '{"images a second": [1]}'):
        path.write_text(text)
        assert precision._kept_speeds(path) == {}
    path.unlink()
    path.mkdir()
    assert precision._kept_speeds(path) == {}
    precision._time_and_keep(TRIAL, path)
    assert precision._kept_speeds(path) == speeds
