"""A row of which 50 classes are kept is decided like the row of all classes that it stands for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from supcon.arrays import Labels
from supcon.decision.calibration import calibration_temperature, negative_log_likelihood
from supcon.decision.crossfit import Decider
from supcon.decision.ladder import TuningTask, greedy_weights
from supcon.decision.logits import load_logits
from supcon.decision.merge import (
    CLASS_MEANS,
    HEAD,
    blend,
    clipped,
    head_and_class_means,
    keep_likeliest_of,
    log_doubts,
    log_softmax,
    merge_members,
    merge_views,
    row_entropies,
    sharpen,
    with_bias,
)
from supcon.decision.rule import Rule
from supcon.decision.undecided import UndecidedRows
from supcon.errors import UserError
from supcon.metrics.metric import make_metric
from supcon.metrics.top_k import Matrix, TopK, joined, keep_likeliest, mean_of, scattered, value_of
from supcon.run.predictions import read_blended, write_predictions
from supcon.settings.settings import TuneSettings
from supcon.storage.files import NpzArray, open_npz, read_npz

CLASSES, KEPT, ROWS, VIEWS = 30, 6, 200, 2
DRAW = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def few_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above 20 classes six are kept, so that small arrays do."""
    monkeypatch.setattr("supcon.metrics.top_k.LARGEST_DENSE", 20)
    monkeypatch.setattr("supcon.metrics.top_k.KEPT", KEPT)
    monkeypatch.setattr("supcon.decision.logits._BLOCK", 3000)  # values: some rows at a time


def logits_of(strength: float = 3.0, rows: int = ROWS, seed: int = 0, views: int = VIEWS) -> tuple[npt.NDArray, Labels]:
    draw = np.random.default_rng(seed)
    true = draw.integers(0, CLASSES, rows)
    signal = strength * np.eye(CLASSES)[true][:, None]
    return (signal + draw.normal(size=(rows, views, CLASSES))).astype(np.float32), true


def kept(logits: npt.NDArray) -> TopK:
    candidates = keep_likeliest(logits)
    assert isinstance(candidates, TopK)
    return candidates


def dense(candidates: Matrix) -> npt.NDArray:
    """The array [rows, (views,) classes] that candidates stand for."""
    assert isinstance(candidates, TopK)
    if candidates.values.ndim == 2:
        return candidates.dense()
    views = [replace(candidates, values=candidates.values[:, view]) for view in range(candidates.values.shape[1])]
    return np.stack([view.dense() for view in views], axis=1)


def test_the_kept_classes_keep_their_exact_log_probability_and_all_sum_to_one() -> None:
    logits, _ = logits_of()
    merged, exact = dense(log_softmax(kept(logits))), log_softmax(logits.astype(np.float64))
    numbers = kept(logits).numbers[:, None]
    np.testing.assert_allclose(
        np.take_along_axis(merged, numbers, axis=2), np.take_along_axis(exact, numbers, axis=2), atol=1e-5
    )
    np.testing.assert_allclose(np.exp(merged).sum(axis=2), 1, rtol=1e-5)
    likeliest = np.argsort(-logits.mean(axis=1), axis=1)[:, :KEPT]
    np.testing.assert_array_equal(np.sort(likeliest, axis=1), kept(logits).numbers)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_views_merge_clip_and_sharpen_as_those_of_all_classes_would(temperature: float) -> None:
    candidates = kept(logits_of()[0])
    merged, whole = merge_views(candidates, temperature), merge_views(dense(candidates), temperature)
    np.testing.assert_allclose(dense(merged), whole, atol=1e-6)
    np.testing.assert_allclose(dense(clipped(merged, np.log(0.01))), clipped(whole, np.log(0.01)), atol=1e-6)
    np.testing.assert_allclose(row_entropies(merged), row_entropies(whole), rtol=1e-6)
    np.testing.assert_allclose(log_doubts(merged), log_doubts(whole), rtol=1e-5)
    entropy = 0.8 * float(row_entropies(whole).mean())
    ours, theirs = sharpen(merged, entropy), sharpen(whole, entropy)
    assert ours[1] == pytest.approx(theirs[1], abs=1e-6)
    np.testing.assert_allclose(dense(ours[0]), theirs[0], atol=1e-5)


def test_a_true_class_that_is_not_kept_counts_as_wrong_and_costs_the_logarithm_of_its_even_share() -> None:
    logits, _ = logits_of()
    merged = merge_views(kept(logits), 1.0)
    absent = logits.mean(axis=1).argmin(axis=1)
    assert (merged.argmax() != absent).all()
    rest = 1 - np.exp(merged.values[:, :-1]).sum(axis=1)
    np.testing.assert_allclose(np.exp(value_of(merged, absent)), rest / (CLASSES - KEPT), rtol=1e-4)
    present = merged.numbers[:, 2].astype(np.int64)
    np.testing.assert_array_equal(value_of(merged, present), merged.values[:, 2])


def test_members_that_keep_other_classes_have_the_mean_of_all_classes() -> None:
    members = [log_softmax(merge_views(kept(logits_of(seed=0, strength=s)[0]), 1.0)) for s in (2.0, 3.0, 4.0)]
    assert (members[0].numbers != members[1].numbers).any()
    weights = [0.5, 0.3, 0.2]
    mean, whole = mean_of(members, weights), mean_of([dense(member) for member in members], weights)
    ours = np.take_along_axis(whole, mean.numbers.astype(int), axis=1)
    np.testing.assert_allclose(mean.values[:, :-1], ours, atol=1e-6)
    np.testing.assert_allclose(np.exp(dense(mean)).sum(axis=1), np.exp(whole).sum(axis=1), rtol=1e-6)
    assert (np.sort(mean.values[:, :-1], axis=1) >= np.sort(whole, axis=1)[:, -KEPT:] - 1e-6).all()
    kept_anew = members[0].keep(mean.numbers)
    np.testing.assert_allclose(np.exp(kept_anew.dense()).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_allclose(
        kept_anew.values[:, :-1], np.take_along_axis(members[0].dense(), mean.numbers.astype(int), axis=1)
    )


def test_a_bias_moves_probability_among_the_kept_classes_alone() -> None:
    merged = merge_views(kept(logits_of()[0]), 1.0)
    bias = DRAW.normal(size=CLASSES)
    moved = with_bias(merged, bias)
    np.testing.assert_array_equal(moved.values[:, -1], merged.values[:, -1])
    np.testing.assert_allclose(np.exp(moved.dense()).sum(axis=1), 1, rtol=1e-6)
    np.testing.assert_array_equal(moved.argmax(), (merged + bias).argmax())
    inside = np.take_along_axis(merged.dense() + bias, merged.numbers.astype(int), axis=1)
    np.testing.assert_array_equal(moved.argmax(), merged.numbers[np.arange(ROWS), inside.argmax(axis=1)])


def test_undecided_rows_find_the_labels_of_the_kept_classes() -> None:
    merged = merge_views(kept(logits_of(1.0)[0]), 1.0)
    start, end = DRAW.normal(size=(2, CLASSES))
    box, line = UndecidedRows.in_box(merged, 1.5), UndecidedRows.between(merged, start, end)
    for part in np.linspace(0.05, 0.95, 7):
        bias = (1 - part) * start + part * end
        np.testing.assert_array_equal(line.labels(bias), (merged + bias).argmax())
        np.testing.assert_array_equal(
            box.labels(np.clip(bias, -1.5, 1.5)), (merged + np.clip(bias, -1.5, 1.5)).argmax()
        )


def test_rows_are_scattered_and_joined() -> None:
    merged = merge_views(kept(logits_of()[0]), 1.0)
    odd = np.arange(ROWS) % 2 == 1
    back = scattered(ROWS, [(odd, merged[odd]), (~odd, merged[~odd])])
    np.testing.assert_array_equal(back.dense(), merged.dense())
    np.testing.assert_array_equal(joined([merged[:50], merged[50:]]).dense(), merged.dense())


def test_class_means_are_kept_of_the_same_classes_and_blended() -> None:
    head, means = logits_of(seed=1)[0], logits_of(seed=2)[0]
    both = keep_likeliest_of({HEAD: head, CLASS_MEANS: means})
    blended = blend(both, head_and_class_means(0.3))
    assert isinstance(blended, TopK)
    whole = blend({HEAD: dense(both[HEAD]), CLASS_MEANS: dense(both[CLASS_MEANS])}, head_and_class_means(0.3))
    np.testing.assert_allclose(dense(blended), whole, atol=1e-5)


# Files


def written(folder: Path, seed: int = 0) -> tuple[list[Path], pd.Series, npt.NDArray, Labels, list[str]]:
    """Two files that hold every other row, and what they were made of."""
    logits, true = logits_of(seed=seed)
    ids, classes = pd.Series([f"row {n}" for n in range(ROWS)]), [f"class {n:02d}" for n in range(CLASSES)]
    files = []
    for fold in (0, 1):
        rows = np.arange(ROWS) % 2 == fold
        both = keep_likeliest_of({HEAD: logits[rows], CLASS_MEANS: -logits[rows]})
        files.append(folder / f"{fold}.npz")
        write_predictions(files[-1], ids[rows], both, classes, ["plain", "hflip"])
    return files, ids, logits, true, classes


def test_a_file_holds_top_logits_and_rest_and_rows_are_read_by_id_when_they_are_needed(tmp_path: Path) -> None:
    files, ids, logits, _, classes = written(tmp_path)
    content = read_npz(files[0])
    assert content["top"].shape == (ROWS // 2, KEPT)
    assert content["top"].dtype == np.int32
    assert content["logits"].shape == (ROWS // 2, VIEWS, KEPT)
    whole = np.logaddexp(np.logaddexp.reduce(content["logits"], axis=2), content["rest"])
    np.testing.assert_allclose(whole, np.logaddexp.reduce(logits[::2], axis=2), rtol=1e-5)
    for weight in (0.0, 0.4):
        stored = read_blended(files, ids[::-1], classes, head_and_class_means(weight))
        both = keep_likeliest_of({HEAD: logits[::-1], CLASS_MEANS: -logits[::-1]})
        assert stored.shape == (ROWS, VIEWS, CLASSES)
        for rows in (slice(None), slice(3, 17), np.arange(ROWS) % 3 == 0, np.array([9, 2, 2])):
            np.testing.assert_allclose(
                dense(load_logits(stored[rows])), dense(blend(both, head_and_class_means(weight)))[rows], atol=1e-4
            )


def test_files_of_another_form_rows_or_classes_are_refused(tmp_path: Path) -> None:
    files, ids, logits, _, classes = written(tmp_path)
    cases = [
        ("every row once, first 'row 1'", files[:1], ids, classes),
        ("every row once, first 'row 0'", [files[0], files[0]], ids, classes),
        ("other classes", files, ids, classes[::-1]),
    ]
    for message, given, rows, names in cases:
        with pytest.raises(UserError, match=message):
            read_blended(given, rows, names, {HEAD: 1.0})
    write_predictions(tmp_path / "dense.npz", ids, {HEAD: logits}, classes, ["plain", "hflip"])
    with pytest.raises(UserError, match="no likeliest classes of logits"):
        read_blended([tmp_path / "dense.npz"], ids, classes, {HEAD: 1.0})
    (tmp_path / "cut.npz").write_bytes(files[0].read_bytes()[:-300])
    with pytest.raises(UserError, match=r"cut\.npz is damaged"):
        read_blended([tmp_path / "cut.npz"], ids, classes, {HEAD: 1.0})
    with pytest.raises(UserError, match="is missing"):
        open_npz(tmp_path / "none.npz")


def test_rows_of_an_array_in_a_file_are_those_of_the_whole_array(tmp_path: Path) -> None:
    np.savez(tmp_path / "some.npz", a=np.arange(12).reshape(4, 3), text=np.array(["x", "yy"]), none=np.zeros((0, 2)))
    content = open_npz(tmp_path / "some.npz")
    assert isinstance(content["a"], NpzArray)
    assert content["a"][1:3].tolist() == [[3, 4, 5], [6, 7, 8]]
    assert content["text"][:].tolist() == ["x", "yy"]
    assert content["none"][:].shape == (0, 2)
    np.savez_compressed(tmp_path / "packed.npz", a=np.arange(3))
    with pytest.raises(UserError, match="packed.npz is damaged .it is compressed"):
        open_npz(tmp_path / "packed.npz")


# Decisions


@pytest.mark.parametrize("name", ["macro_f1", "log_loss"])
def test_a_decision_on_stored_rows_is_that_on_the_arrays_they_stand_for(tmp_path: Path, name: str) -> None:
    files, ids, logits, true, classes = written(tmp_path)
    metric, fold = make_metric(name, CLASSES, np.arange(CLASSES)), np.arange(ROWS) % 4  # type: ignore[arg-type]
    task = TuningTask(metric, TuneSettings(trials=6, bootstrap=20), np.zeros(CLASSES, np.int64))
    stored = Decider([read_blended(files, ids, classes, {HEAD: 1.0})], true, fold, task).decide()
    whole = Decider([dense(kept(logits))], true, fold, task).decide()
    assert [rung.rung for rung in stored.ladder] == [rung.rung for rung in whole.ladder]
    assert "thresholds" not in [rung.rung for rung in stored.ladder]
    for ours, theirs in zip(stored.ladder, whole.ladder, strict=True):
        assert ours.cross_fitted == pytest.approx(theirs.cross_fitted, abs=0.02)
    assert stored.rule.temperatures == pytest.approx(whole.rule.temperatures, rel=1e-3)


@pytest.mark.slow
def test_runs_that_keep_other_classes_are_blended(tmp_path: Path) -> None:
    weak, true = logits_of(1.0, seed=3)
    strong = logits_of(4.0, seed=3)[0]
    metric, fold = make_metric("macro_f1", CLASSES, np.arange(CLASSES)), np.arange(ROWS) % 4
    task = TuningTask(metric, TuneSettings(trials=6, bootstrap=20), np.zeros(CLASSES, np.int64))
    decision = Decider([kept(weak), kept(strong)], true, fold, task).decide()
    assert [rung.rung for rung in decision.ladder] == ["argmax", "prior", "greedy", "weights"]
    merged = decision.merge([kept(weak), kept(strong)], fold)
    assert isinstance(merged, TopK)
    assert (merged.argmax() == true).mean() > 0.9
    np.testing.assert_allclose(np.exp(merged.dense()).sum(axis=1), 1, rtol=1e-5)


def test_weights_are_judged_on_as_many_rows_as_fit_of_what_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    runs, true = [kept(logits_of(strength, seed=3)[0]) for strength in (1.0, 4.0)], logits_of(seed=3)[1]
    monkeypatch.setattr("supcon.decision.ladder._MOST_VALUES", len(runs) * ROWS * (KEPT + 1))
    task = TuningTask(make_metric("macro_f1", CLASSES, np.arange(CLASSES)), TuneSettings(), np.zeros(CLASSES, np.int64))
    counted: list[int] = []

    def score(self: object, true: Labels, predicted: Labels) -> float:
        counted.append(len(predicted))
        return 0.0

    monkeypatch.setattr(type(task.metric), "score", score)
    greedy_weights(Rule((1 / CLASSES,) * CLASSES, temperatures=(1.0, 1.0), weights=(0.5, 0.5)), runs, true, task)
    assert set(counted) == {ROWS}


def test_models_merged_piece_by_piece_are_those_merged_at_once() -> None:
    models = [kept(logits_of(3.0 + n, seed=4)[0]) for n in range(3)]
    rule = Rule((1 / CLASSES,) * CLASSES, temperatures=(1.3,))
    merged, exponent = rule.merge_models([[model] for model in models])
    at_once, theirs = merge_members([merge_views(model, 1.3) for model in models])
    assert exponent == pytest.approx(theirs, abs=1e-5)
    np.testing.assert_allclose(merged.values, at_once.values, atol=1e-4)  # type: ignore[union-attr]


def test_the_temperature_is_that_of_the_arrays_they_stand_for() -> None:
    logits, true = logits_of(2.0)
    ours = calibration_temperature(kept(4 * logits), true)
    assert ours == pytest.approx(calibration_temperature(dense(kept(4 * logits)), true), rel=1e-3)
    loss, expected = (
        negative_log_likelihood(merge_views(logits, 1.0), true) for logits in (kept(logits), dense(kept(logits)))
    )
    assert loss == pytest.approx(expected, rel=1e-5)
