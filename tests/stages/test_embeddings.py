"""What predict keeps of the encoder's view of the rows: a sample of each part, out of the passes it makes anyway."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.torch import load_file
from torch import Tensor
from torch.nn import functional as F

from supcon.errors import UserError
from supcon.run.experiment import load_experiment
from supcon.run.predictions import HELD_OUT, TEST, TRAINING, Embeddings, read_embeddings
from supcon.settings import open_request
from supcon.storage.files import read_npz
from supcon.training.model.encoder import Encoder
from supcon.training.predictor import embed
from tests.conftest import run_stage
from tests.rounding import FLOAT16

FOLD = Path("runs/cross_entropy/fold1")
STORED = 20 * FLOAT16  # what a sum of rounded features is off by, relative to the largest: some of them cancel


@pytest.fixture
def split(root: Path) -> Path:
    run_stage("make_folds", root)
    return root


def run_fold(root: Path, *flags: str, stages: tuple[str, ...] = ("finetune", "predict")) -> Embeddings:
    for stage in stages:
        run_stage(stage, root, "--fold=1", "--pretrain.epochs=0", *flags)
    return read_embeddings(root / FOLD)


def projected(weights: dict[str, Tensor], features: np.ndarray) -> np.ndarray:
    """What the default projection head, two layers, makes of features."""
    head = {name.removeprefix("projection."): value for name, value in weights.items() if name.startswith("proj")}
    hidden = F.relu(F.linear(Tensor(features), head["0.weight"], head["0.bias"]))
    return F.linear(hidden, head["2.weight"], head["2.bias"]).numpy()


def test_every_row_of_each_part_stands_with_what_the_classifier_and_the_head_see_of_it(finished: Path) -> None:
    found = read_embeddings(finished / FOLD)
    folds = pd.read_csv(finished / "folds" / "folds.csv", dtype=str).set_index("id")["fold"]
    assert set(found.of(TRAINING).ids) == set(folds.index[folds != "1"])
    assert set(found.of(HELD_OUT).ids) == set(folds.index[folds == "1"])
    assert set(found.of(TEST).ids) == {f"b{number:03d}" for number in range(12)}
    assert (read_npz(finished / FOLD / "embeddings.npz")["features"]).dtype == np.float16

    weights = load_file(finished / FOLD / "classifier.safetensors")
    for name, part in (("oof.npz", HELD_OUT), ("test.npz", TEST)):
        predicted, rows = read_npz(finished / FOLD / name), found.of(part)
        assert list(rows.ids) == list(predicted["ids"])
        plain = predicted["logits"][:, 0]
        logits = F.linear(Tensor(rows.features), weights["classifier.1.weight"]).numpy()
        shift = plain[0] - logits[0]  # the bias, and what makes natural-prior log-odds of it
        np.testing.assert_allclose(logits + shift, plain, atol=STORED * np.abs(plain).max())
    assert found.projections is not None
    expected = projected(weights, found.features)
    np.testing.assert_allclose(found.projections, expected, atol=STORED * np.abs(expected).max())


def test_rows_embedded_later_for_another_use_are_embedded_alike(finished: Path) -> None:
    experiment = load_experiment(open_request(finished, "cross_entropy"))
    rows = experiment.split.rows_of(1)
    embeddings, stored = embed(experiment, finished / FOLD, experiment, rows), read_embeddings(finished / FOLD)
    assert embeddings.ids.tolist() == stored.of(HELD_OUT).ids.tolist()
    assert set(embeddings.part) == {HELD_OUT}
    assert embeddings.projections is not None
    assert stored.projections is not None
    of_rows = stored.part == HELD_OUT
    pairs = [(embeddings.features, stored.features), (embeddings.projections, stored.projections)]
    for values, kept in pairs:
        np.testing.assert_allclose(values, kept[of_rows], atol=STORED * np.abs(kept).max())


def test_a_sample_is_drawn_by_the_seed_and_changes_no_prediction(split: Path) -> None:
    whole = run_fold(split)
    before = (split / FOLD / "oof.npz").read_bytes()
    few = run_fold(split, "--force", "--predict.embeddings=7", stages=("predict",))
    assert np.bincount(few.part).tolist() == [7, 7, 7]
    place = {(part, name): row for row, (part, name) in enumerate(zip(whole.part, whole.ids, strict=True))}
    rows = [place[key] for key in zip(few.part, few.ids, strict=True)]
    assert rows == sorted(rows)
    assert rows[:7] != list(range(7))
    np.testing.assert_array_equal(few.features, whole.features[rows])
    assert (split / FOLD / "oof.npz").read_bytes() == before
    kept = (split / FOLD / "embeddings.npz").read_bytes()
    run_fold(split, "--force", "--predict.embeddings=7", stages=("predict",))
    assert (split / FOLD / "embeddings.npz").read_bytes() == kept


@pytest.mark.parametrize("prototypes", ["true", "false"])
def test_without_class_means_the_training_rows_are_there_too_and_0_leaves_the_file_empty(
    split: Path, prototypes: str
) -> None:
    found = run_fold(split, f"--predict.class_means={prototypes}")
    assert np.bincount(found.part).tolist() == [40, 20, 12]
    assert (np.abs(found.features).max(axis=1) > 0).all()
    empty = run_fold(
        split, f"--predict.class_means={prototypes}", "--predict.embeddings=0", "--force", stages=("predict",)
    )
    assert len(empty.ids) == len(empty.part) == len(empty.features) == 0
    assert empty.features.shape == (0, found.features.shape[1])


def test_projections_are_those_of_the_final_encoder_or_absent(split: Path) -> None:
    alone = ("--finetune.contrastive_weight=0", "--finetune.epochs=1")
    both = ("pretrain", "finetune", "predict")
    cases = {
        "trained-on": (*alone,),
        "frozen": (*alone, "--finetune.mode=linear"),
        "no-head": ("--finetune.epochs=1", "--contrast.projection=none"),
        "cross-entropy": (*alone, "--pretrain.epochs=0"),
    }
    found = {}
    for run, flags in cases.items():
        for stage in both:
            run_stage(stage, split, "--fold=1", f"--run={run}", *flags)
        found[run] = read_embeddings(split / "runs" / run / "fold1")
    assert {run for run, embeddings in found.items() if embeddings.projections is None} == set(cases) - {"frozen"}
    frozen = found["frozen"]
    assert frozen.projections is not None
    expected = projected(load_file(split / "runs/frozen/fold1/encoder.safetensors"), frozen.features)
    np.testing.assert_allclose(frozen.projections, expected, atol=STORED * np.abs(expected).max())


def test_unreadable_test_images_have_no_embedding(split: Path) -> None:
    (split / "input" / "test" / "b003.png").write_bytes(b"no image")
    found = run_fold(split, "--data.bad_images=skip")
    assert set(found.of(TEST).ids) == {f"b{number:03d}" for number in range(12)} - {"b003"}


def test_features_beyond_half_precision_stay_finite(split: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = Encoder.forward
    run_stage("finetune", split, "--fold=1", "--pretrain.epochs=0")
    monkeypatch.setattr(Encoder, "forward", lambda self, views: forward(self, views) * 1e9)
    found = run_fold(split, stages=("predict",))
    assert np.isfinite(found.features).all()
    assert found.features.max() == np.finfo(np.float16).max


def test_a_missing_or_damaged_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"embeddings\.npz is missing"):
        read_embeddings(tmp_path)
    (tmp_path / "embeddings.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match=r"embeddings\.npz is damaged.*--force"):
        read_embeddings(tmp_path)
