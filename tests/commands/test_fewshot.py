"""Few-shot episodes of a finished run: what is said and written, whose rows they are, and what is refused."""

import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from supcon.commands import fewshot
from supcon.errors import UserError
from supcon.metrics.episodes import EpisodeShape, episode_accuracies, mean_with_interval, rows_of_classes
from supcon.randomness import seed_at
from supcon.report.few_shot import one_of_each_group
from supcon.run.experiment import load_experiment
from supcon.run.predictions import HELD_OUT, Embeddings, read_embeddings, write_embeddings
from supcon.run.split import Split
from supcon.settings import open_request, parse
from supcon.storage.tables import read_table
from supcon.training.predictor import embed
from tests.conftest import accept_changes, run_stage, write_competition
from tests.stages.rounds import TWO, second_round

RUN = Path("runs/cross_entropy")
SHORT = ("--ways=2", "--episodes=20")


@pytest.fixture
def copied(finished: Path, tmp_path: Path) -> Path:
    """A root with a finished run, to be changed."""
    return Path(shutil.copytree(finished, tmp_path / "root"))


def play(root: Path, *flags: str) -> pd.DataFrame:
    fewshot.main([f"--root={root}", *flags])  # on the only run
    return read_table(root / RUN / "fewshot.csv")


def labels_of(root: Path) -> dict[str, str]:
    folds = read_table(root / "folds" / "folds.csv")
    return dict(zip(folds["id"], folds["label"], strict=True))


def change_embeddings(root: Path, change: Callable[[Embeddings], Embeddings]) -> None:
    for fold in range(3):
        folder = root / RUN / f"fold{fold}"
        write_embeddings(folder / "embeddings.npz", change(read_embeddings(folder)))
    accept_changes(root)


@pytest.mark.parametrize("space", ["features", "projections"])
def test_each_fold_is_judged_by_the_rows_that_it_holds_out(
    copied: Path, capsys: pytest.CaptureFixture[str], space: str
) -> None:
    table = play(copied, "--ways=3", "--shots=2", "--queries=4", "--episodes=50", "--seed=3", f"--space={space}")
    pooled, said = [], capsys.readouterr().out
    for fold in range(3):
        rows = read_embeddings(copied / RUN / f"fold{fold}").of(HELD_OUT)
        labels = np.unique([labels_of(copied)[name] for name in rows.ids], return_inverse=True)[1]
        shape, seed = EpisodeShape(3, 2, 4), seed_at(3, "episodes", fold)
        pooled.append(episode_accuracies(getattr(rows, space), rows_of_classes(labels, 3), shape, 50, seed))
    values = [mean_with_interval(accuracies) for accuracies in [*pooled, np.concatenate(pooled)]]
    assert table["fold"].tolist() == ["0", "1", "2", "all"]
    written = table[["accuracy", "low", "high"]].to_numpy().tolist()
    assert written == [[f"{number:.4f}" for number in numbers] for numbers in values]
    assert "held-out rows, of classes that were trained on\n" in said
    for name, (mean, low, high) in zip(("fold 0", "fold 1", "fold 2", "all"), written, strict=True):
        assert re.search(rf"^{name} +{mean} \[{low}, {high}\]$", said, re.M)


def test_the_table_keeps_every_setting_once(copied: Path) -> None:
    first = play(copied, *SHORT)
    path = copied / RUN / "fewshot.csv"
    before = path.read_bytes()
    play(copied, *SHORT)
    assert path.read_bytes() == before
    both = play(copied, *SHORT, "--shots=2")
    pd.testing.assert_frame_equal(both[:4], first)
    assert both["shots"].tolist() == ["1"] * 4 + ["2"] * 4


def test_rows_of_other_models_stay_and_are_told_apart(copied: Path) -> None:
    first = play(copied, *SHORT)
    for stage in ("predict", "tune"):
        run_stage(stage, copied, "--predict.embeddings=50", "--force")
    assert play(copied, *SHORT)["models"].nunique() == 2
    pd.testing.assert_frame_equal(read_table(copied / RUN / "fewshot.csv")[:4], first)


def test_held_out_rows_that_a_second_round_has_learned_are_no_unseen_ones(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second_round(copied, "--pretrain.epochs=0", "--finetune.epochs=1")
    run_stage("tune", copied, *TWO, "--pretrain.epochs=0", "--finetune.epochs=1")
    fewshot.main([f"--root={copied}", "--run=two", *SHORT])
    assert "of classes that were trained on; some of them were too, with a pseudo-label\n" in capsys.readouterr().out


def test_copies_and_rows_of_one_group_do_not_classify_each_other() -> None:
    groups = ["", "p", "", "p", "p", "q", "", "q"]
    labels = ["x", "x", "x", "x", "y", "y", "y", "y"]
    split = Split(pd.DataFrame({"id": list("abcdefgh"), "label": labels, "group": groups, "fold": 0}))
    kept = {frozenset(one_of_each_group(np.arange(8), split, seed).tolist()) for seed in range(50)}
    assert kept == {frozenset({0, 2, 4, 6, of_p, of_q}) for of_p in (1, 3) for of_q in (5, 7)}
    held_out = np.array([7, 3, 1])
    assert {tuple(held_out[one_of_each_group(held_out, split, seed)]) for seed in range(50)} == {(7, 3), (7, 1)}
    alone = Split(split.table.assign(group=""))
    assert one_of_each_group(held_out, alone, 0).tolist() == [0, 1, 2]


def test_groups_leave_one_row_of_each_to_the_episodes(copied: Path) -> None:
    other = copied / "other"
    write_competition(other / "input", ["a"] * 30 + ["b"] * 18)
    table = other / "input" / "train.csv"
    lines = table.read_text().splitlines()
    table.write_text("\n".join([f"{lines[0]},pair", *(f"{line},p{n // 2}" for n, line in enumerate(lines[1:]))]) + "\n")
    flags = ("--data.group_column=pair", "--data.label_column=label")
    run_stage("make_folds", other, *flags)
    with pytest.raises(UserError, match=r"the largest has 15\)"):  # pairs of rows
        play(copied, f"--on={other}", *flags, "--data.folds=3", "--shots=40", "--ways=2")


def test_another_competition_is_embedded_by_every_folds_encoder(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other, classes = copied / "other", np.arange(36) % 4
    write_competition(other / "input", ["0"] * 36, seed=3)  # one colour: only noise tells the classes
    lines = [f"a{row:03d},{label}" for row, label in enumerate(classes)]
    (other / "input" / "train.csv").write_text("\n".join(["id,label", *lines]) + "\n")
    on = (f"--on={other}", "--data.folds=3")
    with pytest.raises(UserError, match=rf"folds\.csv is missing: run `.*make_folds\.py --root {other}` first"):
        play(copied, *on)
    run_stage("make_folds", other, "--data.image_size=24")
    table = play(copied, *on, "--ways=4", "--episodes=20")
    said = f"rows of {other}\nfewshot: 20 episodes a fold of 4 ways, 1 shot and 15 queries a class\n"
    assert said in capsys.readouterr().out
    assert set(table["on"]) == {str(other)}

    experiment = load_experiment(open_request(copied, "cross_entropy"))
    images = [f"--data.{name}" for name in ("folds=3", "image_size=16", "fit=squash")]
    rows = load_experiment(parse("", [f"--root={other}", *images]))
    for fold in range(3):
        features = embed(experiment, copied / RUN / f"fold{fold}", rows, np.arange(36)).features
        shape, seed = EpisodeShape(4, 1, 15), seed_at(0, "episodes", fold)
        accuracies = episode_accuracies(features, rows_of_classes(classes, 2), shape, 20, seed)
        assert float(table["accuracy"][fold]) == pytest.approx(accuracies.mean(), abs=5e-5)  # it has four digits
    assert table["accuracy"].nunique() > 1
    with pytest.raises(
        UserError, match=r"have the 2 rows that --shots 1 and a query take .*: raise --rows, or lower --ways or --shots"
    ):
        play(copied, *on, "--ways=4", "--rows=7")
    with pytest.raises(UserError, match=r"4 of 4 classes have .* --ways 5 needs 5"):
        play(copied, *on)
    with pytest.raises(UserError, match="is the root of run cross_entropy"):
        play(copied, f"--on={other / '..'}")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--ways=1",), "--ways 1: it takes 2 or more"),
        (("--shots=0",), "--shots 0: it takes 1 or more"),
        (("--queries=0",), "--queries 0: it takes 1 or more"),
        (("--episodes=1",), "--episodes 1: it takes 2 or more"),
        (("--rows=0",), "--rows 0: it takes 1 or more"),
        (
            ("--ways=4",),
            "fold 0 of run cross_entropy: 3 of 3 classes have the 2 rows .* --ways 4 needs 4 of them: lower --ways or",
        ),
        (("--ways=3", "--shots=5"), "2 of 3 classes have the 6 rows that --shots 5 and a query take"),
        (("--run=nowhere",), r"no run is called nowhere in .*, which has cross_entropy$"),
        (("--space=pixels",), "--space"),
        (("--train.seed=9",), "made otherwise: train.seed 0 -> 9"),
    ],
)
def test_what_cannot_be_played_is_refused_in_a_line(finished: Path, flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(UserError, match=message):
        fewshot.main([f"--root={finished}", "--run=cross_entropy", *flags])
    assert not (finished / RUN / "fewshot.csv").exists()


def test_a_run_without_what_is_needed_is_named(copied: Path) -> None:
    change_embeddings(copied, lambda embeddings: replace(embeddings, projections=None))
    with pytest.raises(UserError, match="--space projections: the final encoders of run cross_entropy have no proj"):
        play(copied, *SHORT, "--space=projections")
    change_embeddings(copied, lambda embeddings: embeddings.of(-1))  # as predict.embeddings 0 leaves the file
    with pytest.raises(UserError, match=r"Run cross_entropy was predicted with predict\.embeddings 0"):
        play(copied, *SHORT)
    (copied / RUN / "tune.done.json").unlink()
    with pytest.raises(UserError, match=r"tune of run cross_entropy is not done: run `python src/tune\.py"):
        play(copied, *SHORT)
