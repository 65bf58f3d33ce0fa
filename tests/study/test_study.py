"""A study on the small competition: trained once, resumed, refused where it has changed, and put into a table."""

import fcntl
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from supcon.errors import UserError
from supcon.run.stages import page_of
from supcon.settings import Request, open_request
from tests.conftest import REPOSITORY
from tests.study.conftest import BRIEF, NEVER, StageRunner, cells, play, replace_stages, write_study


def test_each_round_is_played_by_the_survivors_and_the_baseline(played: Path) -> None:
    table = cells(played)
    first, second = table[table["round"] == 1], table[table["round"] == 2]
    assert list(first["variant"]) == ["ce", "two", "short", "hot"]
    scored = first[first["failed"] == ""].astype({"macro_f1": float})
    contenders = scored[scored["variant"] != "ce"].sort_values("macro_f1", ascending=False, kind="stable")
    assert set(second["variant"]) == {"ce", contenders["variant"].iloc[0]}
    assert sorted(second[second["variant"] == "ce"]["fold"]) == [0, 1, 2]


def test_whole_runs_are_compared_by_their_cross_fitted_decisions(played: Path) -> None:
    survivors = set(cells(played).query("round == 2")["variant"])
    table = (played / "runs" / "tiny" / "table.md").read_text().split("## Whole runs")[1]
    for variant in survivors:
        decision = json.loads((played / "runs" / f"tiny-{variant}-s0" / "decision.json").read_text())
        row = next(line for line in table.splitlines() if line.startswith(f"| {variant} "))
        assert f"{decision['cross_fitted']:.4f}" in row


def test_a_cells_score_is_what_its_prediction_stage_said(played: Path) -> None:
    for row in cells(played).itertuples():
        if not row.failed:
            folder = played / "runs" / f"tiny-{row.variant}-s{row.seed}" / f"fold{row.fold}"
            said = json.loads((folder / "predict.done.json").read_text())["raw"]
            assert float(str(row.macro_f1)) == pytest.approx(said, abs=1e-6)


def test_passes_are_those_of_both_training_stages(played: Path) -> None:
    passes = cells(played).query("round == 1").set_index("variant")["passes"]
    assert passes["ce"] == str(6 * 48)  # 40 training rows in natural batches of 24
    assert passes["two"] == str(2 * 48 + 4 * 48)  # and in PK batches of 3 x 4
    assert f"{3 * 48}*" in (played / "runs" / "tiny" / "table.md").read_text()  # short: unequal, marked


def test_a_failed_variant_is_noted_with_its_reason(played: Path) -> None:
    reason = cells(played).query("variant == 'hot'")["failed"].item()
    assert reason.startswith("pretrain fold 0: the loss is")
    assert f"- hot, seed 0, fold 0 failed: {reason}" in (played / "runs" / "tiny" / "table.md").read_text()
    for path in played.rglob(".*.lock"):  # who tries that variant by hand does not wait for the study
        with path.open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)


def test_a_finished_study_trains_nothing_and_does_not_load_torch(played: Path) -> None:
    outside = [path for path in played.rglob("*") if path.is_file() and path.parent.name != "tiny"]
    before = {path: path.stat().st_mtime_ns for path in outside}
    table = (played / "runs" / "tiny" / "table.md").read_bytes()
    words = [str(played / "tiny.yaml"), "--root", str(played)]
    code = f"import sys; from supcon.commands import study; study.main({words}); assert 'torch' not in sys.modules"
    result = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    assert {path: path.stat().st_mtime_ns for path in outside} == before
    assert (played / "runs" / "tiny" / "table.md").read_bytes() == table
    assert (played / "runs" / "tiny" / "plot.png").read_bytes().startswith(b"\x89PNG")
    assert "## Round 2: seed 0, fold 0 1 2 (6 of 6 cells)" in result.stdout


@pytest.mark.usefixtures("no_training")
def test_the_list_shows_every_cell_with_its_state(played: Path, capsys: pytest.CaptureFixture[str]) -> None:
    play(played, "--list")
    shown = capsys.readouterr().out
    assert "  hot, seed 0, fold 0: failed: pretrain fold 0" in shown
    assert "  ce, seed 0, fold 2: macro-F1 " in shown


def interrupted(request: Request) -> None:
    raise KeyboardInterrupt


def test_an_interrupted_study_goes_on_with_the_cells_it_lacks(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(root, BRIEF, [{"folds": [1], "seeds": [0, 3]}])
    with monkeypatch.context() as context:
        replace_stages(context, {"pretrain": interrupted})
        with pytest.raises(KeyboardInterrupt):
            play(root)
    assert list(cells(root)["variant"]) == ["ce", "ce"]

    called: list[tuple[str, str]] = []

    def watch(name: str) -> StageRunner:
        def run(request: Request) -> None:
            called.append((name, request.run))
            page_of(name).run(request)

        return run

    replace_stages(monkeypatch, {name: watch(name) for name in NEVER})
    capsys.readouterr()
    play(root, "--table-only")
    assert called == []
    assert "| two           | to do    |" in capsys.readouterr().out
    play(root)
    assert called == [(name, f"tiny-two-s{seed}") for seed in (0, 3) for name in ("pretrain", "finetune", "predict")]
    output = capsys.readouterr().out
    assert "study: 2 cells to do, 2 of 4 are known" in output
    assert "two, seed 3, fold 1: 2 of 2" in output
    resolved = yaml.safe_load((root / "runs" / "tiny-two-s3" / "resolved.yaml").read_text())
    assert resolved["settings"]["train"]["seed"] == 3


def test_a_changed_variant_is_refused_and_redone_by_force(root: Path) -> None:
    variants = {name: dict(settings) for name, settings in BRIEF.items()}
    rounds: list[dict[str, Any]] = [{"folds": [0], "seeds": [0]}]
    write_study(root, variants, rounds)
    play(root)
    done = root / "runs" / "tiny-ce-s0" / "fold0" / "finetune.done.json"
    before = done.read_bytes()
    variants["two"]["finetune.lr"] = 0.01
    write_study(root, variants, rounds)
    with pytest.raises(
        UserError, match=r"finetune fold 0 of run tiny-two-s0 .*finetune\.lr 0\.002 -> 0\.01; .*--force"
    ):
        play(root)
    play(root, "--force")
    assert done.read_bytes() == before
    assert len(list((root / "runs" / "tiny-two-s0" / "old").glob("finetune-fold-0-*"))) == 1
    assert not list((root / "runs" / "tiny-two-s0" / "old").glob("pretrain-*"))  # which has not changed

    del variants["two"]["finetune.lr"]  # what a variant no longer says does not live on in its run
    write_study(root, variants, rounds)
    with pytest.raises(UserError, match=r"finetune\.lr 0\.01 -> 0\.002"):
        play(root)


def test_what_a_stage_run_by_hand_has_set_stays(root: Path) -> None:
    write_study(root, {"ce": BRIEF["ce"]}, [{"folds": "all", "seeds": [0]}])
    play(root)
    request = replace(open_request(root, "tiny-ce-s0", given={"tune.trials": 5}), force=True)
    page_of("tune").run(request)
    play(root)  # neither refuses nor tunes anew
    assert open_request(root, "tiny-ce-s0").settings.tune.trials == 5


def test_a_failed_cell_is_tried_again_by_force_alone(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def out_of_memory(request: Request) -> None:
        raise RuntimeError("no memory left\nfor this")

    write_study(root, {"ce": BRIEF["ce"]}, [{"folds": [0], "seeds": [0]}])
    (root / "runs" / "tiny").mkdir(parents=True)
    (root / "runs" / "tiny" / "plot.png").write_bytes(b"of an earlier table")
    with monkeypatch.context() as context:
        replace_stages(context, {"predict": out_of_memory})
        with pytest.raises(UserError, match="ce, seed 0, fold 0, the baseline, failed: RuntimeError: no memory left; "):
            play(root)
    assert cells(root)["failed"].item() == "RuntimeError: no memory left"
    assert not (root / "runs" / "tiny" / "plot.png").exists()
    assert "(`--force` tries failed cells again.)" in (root / "runs" / "tiny" / "table.md").read_text()
    with monkeypatch.context() as context:
        replace_stages(context, NEVER)
        with pytest.raises(UserError, match="--force tries failed cells again"):
            play(root)
    assert cells(root)["failed"].item() == "RuntimeError: no memory left"
    play(root, "--force")
    assert cells(root)["failed"].item() == ""
    play(root)
    assert cells(root)["failed"].item() == ""


def test_all_folds_by_number_are_all_folds(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_study(root, {"ce": BRIEF["ce"]}, [{"folds": [2, 0, 1], "seeds": [0]}])
    play(root)
    assert "## Whole runs" in capsys.readouterr().out


def test_a_study_is_scored_by_the_hosts_metric(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [f"b{number:03d}" for number in range(12)]
    sample = pd.DataFrame({"id": ids, "NA": 0.4, "001": 0.3, "red": 0.3})
    sample.to_csv(root / "input" / "sample_submission.csv", index=False)
    (root / "input" / "solution.csv").unlink()
    write_study(root, BRIEF, [{"folds": "all", "seeds": [0]}])
    play(root, "--tune.metric=log_loss")
    said, shown = capsys.readouterr().out.split("# Study tiny")
    assert "ce, seed 0, fold 2: log loss " in said
    assert "macro" not in shown.lower()
    assert list(cells(root)["log_loss"]) == list(cells(root)["nll"])
    whole = shown.split("| cross-fitted log loss |")[1]
    scores = [float(line.split("|")[2]) for line in whole.splitlines() if line.startswith(("| ce", "| two"))]
    assert scores == sorted(scores)


def test_a_cells_seconds_are_those_of_its_stages(played: Path) -> None:
    for row in cells(played).itertuples():
        if not row.failed:
            folder = played / "runs" / f"tiny-{row.variant}-s{row.seed}" / f"fold{row.fold}"
            stages = [json.loads(path.read_text())["seconds"] for path in folder.glob("*.done.json")]
            beyond = float(str(row.seconds)) - sum(stages)
            assert -0.01 < beyond < 0.7  # the seconds of up to 6 epochs, each rounded to a tenth, may be more


def test_classes_that_nothing_scores_are_not_scored_by_a_study_either(root: Path) -> None:
    lines = (root / "input" / "train.csv").read_text().splitlines()
    rare = [line.replace(",red", ",rare") if number in (1, 2) else line for number, line in enumerate(lines)]
    (root / "input" / "train.csv").write_text("\n".join(rare) + "\n")
    write_study(root, {"ce": BRIEF["ce"]}, [{"folds": "all", "seeds": [0]}])
    play(root, "--data.rare_classes=train_only")
    test_a_cells_score_is_what_its_prediction_stage_said(root)
    text = (root / "runs" / "tiny" / "table.md").read_text().split("cross-fitted macro-F1")[1]
    decision = json.loads((root / "runs" / "tiny-ce-s0" / "decision.json").read_text())
    assert f"| {decision['cross_fitted']:.4f} " in text
