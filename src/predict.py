"""Predict each fold's held-out rows and the test rows: logits of every test-time view, and the run's CSV files."""

import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from supcon.artifacts.files import read_npz, write_csv, write_npz
from supcon.artifacts.stage import StageRun
from supcon.config import parse
from supcon.decision.merge import LogProbabilities, merge_members, merge_views
from supcon.errors import run_stage
from supcon.experiment import Experiment, load_experiment
from supcon.metrics.f1 import macro_f1


def main(argv: Sequence[str] | None = None) -> None:
    """Run the stage for the folds asked for."""
    call = parse(__doc__, argv, per_fold=True)
    experiment = load_experiment(call)
    tables = [call.run_folder / "oof.csv", call.run_folder / "test.csv"]
    for fold in experiment.folds:
        stage = experiment.stage("predict", fold)
        if stage.ready():
            for table in tables:
                table.unlink(missing_ok=True)  # of the predictions before
            predict_fold(experiment, stage, fold)
    if not all(table.exists() for table in tables):
        write_tables(experiment)


def predict_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Write oof.npz and test.npz: both by the same model, views, precision and code."""
    from supcon.augment import prediction_views
    from supcon.data import FixedViews, worker_count
    from supcon.engine.device import set_up_device
    from supcon.engine.evaluate import evaluate
    from supcon.engine.fold import FoldData
    from supcon.model.encoder import Encoder, load_weights, nn
    from supcon.model.heads import classifier_head

    started = time.time()
    settings = experiment.call.settings
    device = set_up_device(settings.machine)
    data = FoldData(experiment, fold, device)
    encoder = Encoder(
        settings.model, settings.data.image_size, load_weights=False, channels_last=settings.train.channels_last
    )
    classifier = classifier_head(encoder.width, len(experiment.classes), settings.finetune.mode, settings.model.dropout)
    load_weights(stage.folder / "classifier.safetensors", encoder=encoder, classifier=classifier)
    model = nn.Sequential(encoder, classifier).to(device)

    views = prediction_views(settings.augment, settings.predict.views)
    side = settings.data.test_size or settings.data.image_size
    images = experiment.open_images(settings.data.image_size)
    held_out = np.flatnonzero(experiment.fold == fold)
    ids = {"oof": experiment.split["id"].to_numpy()[held_out], "test": experiment.competition.test["id"].to_numpy()}
    for part, positions in {"oof": held_out, "test": experiment.test_positions}.items():
        dataset = FixedViews(images, positions, views, side, settings.data.fit)
        workers = worker_count(settings.machine.workers)
        label = f"{stage.label} {part}"
        logits = evaluate(model, dataset, settings.predict.batch_size, device, settings.train.precision, workers, label)
        write_npz(
            stage.folder / f"{part}.npz",
            {
                "ids": ids[part].astype(str),
                "logits": (logits + data.log_odds_shift).numpy(),
                "classes": np.array(experiment.classes),
                "views": np.array(list(views)),
            },
        )
    score = fold_score(experiment, fold)
    stage.finish(started, raw_macro_f1=score)
    print(f"{stage.label}: out-of-fold macro-F1 {score:.4f} by plain argmax of {len(views)} views", flush=True)


def fold_score(experiment: Experiment, fold: int) -> float:
    """Return a fold's out-of-fold macro-F1 by plain argmax."""
    content = read_npz(experiment.stage("predict", fold).folder / "oof.npz")
    predicted = merge_views(content["logits"], 1.0).argmax(axis=1)
    return macro_f1(experiment.labels[experiment.fold == fold], predicted, len(experiment.classes))


def write_tables(experiment: Experiment) -> None:
    """Write the run's oof.csv and test.csv, id and a probability column a class, once every fold is predicted."""
    folder = experiment.call.run_folder
    folders = [folder / f"fold{fold}" for fold in range(experiment.call.settings.data.folds)]
    if not all((one / "predict.done.json").exists() for one in folders):
        return
    oof = [read_npz(one / "oof.npz") for one in folders]
    test = [read_npz(one / "test.npz") for one in folders]
    classes = experiment.classes
    _write_probabilities(
        folder / "oof.csv",
        np.concatenate([part["ids"] for part in oof]),
        np.concatenate([merge_views(part["logits"], 1.0) for part in oof]),
        classes,
    )
    merged, _ = merge_members([merge_views(part["logits"], 1.0) for part in test])
    _write_probabilities(folder / "test.csv", test[0]["ids"], merged, classes)


def _write_probabilities(
    path: Path, ids: "np.ndarray", log_probabilities: LogProbabilities, classes: list[str]
) -> None:
    table = pd.DataFrame(np.exp(log_probabilities), columns=classes)
    table.insert(0, "id", ids, allow_duplicates=True)
    write_csv(path, table)


if __name__ == "__main__":
    run_stage(main)
