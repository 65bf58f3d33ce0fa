"""Corruption F1 of a finished run: right, repeatable, made once, and refused where it is of another state."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from supcon.errors import UserError
from supcon.metrics.counts import macro_f1
from supcon.report.corruptions.kinds import NAMES, SEVERITIES, STATES
from supcon.report.corruptions.measure import measure, sample_rows
from supcon.report.corruptions.result import CorruptionScores, read_scores, write_scores
from supcon.run.experiment import Experiment, load_experiment
from supcon.settings import parse
from supcon.storage.files import read_json, read_npz, write_json
from tests.conftest import change_done

ROWS = 7  # of a fold


def experiment_of(root: Path, *flags: str) -> Experiment:
    return load_experiment(parse("", [f"--root={root}", "--run=cross_entropy", *flags]))


@pytest.fixture(scope="module")
def tried(finished: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the finished run that has seen damaged images; tests must not change it."""
    root = tmp_path_factory.mktemp("tried") / "root"
    shutil.copytree(finished, root)
    measure(experiment_of(root), ROWS)
    write_scores(experiment_of(root), ROWS)
    return root


@pytest.fixture
def copied(tried: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tried, tmp_path / "root"))


def predictions(root: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted((root / "runs").glob("*/fold*/corruptions.npz"))]


def test_undamaged_rows_are_predicted_as_they_were_by_the_plain_view(tried: Path) -> None:
    experiment = experiment_of(tried)
    for fold in experiment.folds:
        folder = experiment.request.run_folder / f"fold{fold}"
        damaged, oof = read_npz(folder / "corruptions.npz"), read_npz(folder / "oof.npz")
        assert damaged["predicted"].shape == (ROWS, len(STATES))
        rows = [oof["ids"].tolist().index(name) for name in damaged["ids"]]
        assert np.array_equal(damaged["predicted"][:, 0], oof["logits"][rows, 0].argmax(axis=1))
        assert list(damaged["ids"]) == experiment.split.ids.iloc[sample_rows(experiment, fold, ROWS)].to_list()


def test_the_scores_are_those_of_the_pooled_rows(tried: Path) -> None:
    experiment = experiment_of(tried)
    scores = read_scores(experiment)
    assert scores is not None
    assert scores.rows == 3 * ROWS
    parts = [read_npz(path) for path in sorted((tried / "runs").glob("*/fold*/corruptions.npz"))]
    number = dict(zip(experiment.split.ids, experiment.split.labels, strict=True))
    true = np.array([number[name] for part in parts for name in part["ids"]])
    predicted = np.concatenate([part["predicted"] for part in parts])
    for state, (name, severity) in enumerate(STATES):
        score = scores.scores[name][severity - 1] if severity else scores.clean
        assert score == pytest.approx(macro_f1(true, predicted[:, state], len(experiment.split.classes)))
    assert set(scores.scores) == set(NAMES)
    assert scores.corruption_f1 == pytest.approx(np.mean([scores.scores[name] for name in NAMES]))
    assert read_json(experiment.request.run_folder / "corruptions.json")["corruption_f1"] == scores.corruption_f1


def test_the_same_bytes_come_again_whatever_the_batches_and_workers(copied: Path) -> None:
    before = predictions(copied)
    measure(experiment_of(copied, "--force", "--machine.workers=1", "--predict.batch_size=32"), ROWS)
    assert predictions(copied) == before


def test_folds_that_are_done_are_left_out(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measure(experiment_of(copied), ROWS)
    assert capsys.readouterr().out.splitlines() == [f"corruptions fold {fold}: done already" for fold in range(3)]


def test_another_number_of_rows_is_refused_in_one_line(tried: Path) -> None:
    with pytest.raises(UserError, match=r"corruptions fold 0 of run cross_entropy was made otherwise: --rows changed;"):
        measure(experiment_of(tried), ROWS + 1)


def test_scores_of_models_that_have_changed_since_are_not_read(copied: Path) -> None:
    path = copied / "runs" / "cross_entropy" / "fold1" / "finetune.done.json"
    change_done(path, hash="another")
    assert read_scores(experiment_of(copied)) is None


def test_a_damaged_file_is_named_with_the_cure(copied: Path) -> None:
    path = copied / "runs" / "cross_entropy" / "corruptions.json"
    write_json(path, {"clean": 0.5})
    with pytest.raises(UserError, match=r"corruptions\.json is damaged: delete it, and ./run\.sh report --corruptions"):
        read_scores(experiment_of(copied))


def test_what_is_lost_is_held_against_the_baseline() -> None:
    def scores(clean: float, damaged: float) -> CorruptionScores:
        return CorruptionScores(10, 5, clean, {name: [damaged] * len(SEVERITIES) for name in NAMES}, "")

    assert scores(0.9, 0.8).relative(scores(0.8, 0.6)) == pytest.approx(0.5)
    assert np.isnan(scores(0.9, 0.8).relative(scores(0.8, 0.8)))
    assert scores(0.9, 0.8).lost["jpeg"] == pytest.approx(0.1)
