"""Predict each fold's held-out rows and the test rows: logits of every test-time view, and the run's CSV files."""

import time
from collections.abc import Sequence

import numpy as np

from supcon.artifacts.stage import StageRun
from supcon.config import FULL, parse
from supcon.decision.merge import HEAD, PROTOTYPES, blend, merge_views
from supcon.errors import run_stage
from supcon.experiment import Experiment, Rows, load_experiment
from supcon.predictions import Predicted, write_predictions
from supcon.runs import write_tables

BLEND = "blend"  # of the head and the class means, as predict.prototype_weight says


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
    """Write oof.npz and test.npz, both by the same model, views, precision and code; for FULL test.npz alone."""
    from supcon.data import FixedViews, fixed_loader, worker_count
    from supcon.engine.device import set_up_device
    from supcon.engine.evaluate import evaluate
    from supcon.engine.fold import FoldData
    from supcon.model.classifier import classifier_head
    from supcon.model.encoder import Encoder, load_weights, nn
    from supcon.model.prototypes import Classifiers
    from supcon.views import prediction_views

    started = time.time()
    settings = experiment.call.settings
    device = set_up_device(settings.machine)
    data = FoldData(experiment, fold, device)
    encoder = Encoder(
        settings.model, settings.data.image_size, load_weights=False, channels_last=settings.train.channels_last
    )
    classifier = classifier_head(encoder.width, len(experiment.classes), settings.finetune.mode, settings.model.dropout)
    load_weights(stage.folder / "classifier.safetensors", encoder=encoder, classifier=classifier)
    classifiers = nn.ModuleDict({HEAD: classifier})
    if settings.predict.prototypes:
        classifiers[PROTOTYPES] = data.class_means(encoder.to(device))
    model = Classifiers(encoder, classifiers).to(device)

    views = prediction_views(settings.augment, settings.predict.views)
    images = experiment.open_prediction_images()

    def predict(part: str, positions: Rows) -> Predicted:
        dataset = FixedViews(images, positions, views, experiment.prediction_side, settings.data.fit)
        loader = fixed_loader(dataset, settings.predict.batch_size, worker_count(settings.machine.workers))
        label = f"{stage.label} {part}"
        outputs = evaluate(model, loader, len(loader), device, settings.train.precision, label)
        predicted = dict(zip(classifiers, outputs.unbind(dim=2), strict=True))
        predicted[HEAD] = predicted[HEAD] + data.log_odds_shift
        readable = ~np.isin(positions, list(images.problems))[:, None, None]
        unknown = data.unreadable_logits.numpy()
        return {name: np.where(readable, logits.numpy(), unknown) for name, logits in predicted.items()}

    for position in sorted(images.problems):
        if position >= len(experiment.split):
            print(
                f"{stage.label}: {experiment.competition.paths[position]} is unreadable: its row gets the class shares"
            )
    held_out, classes = experiment.rows_of(fold), experiment.classes
    test = predict("test", experiment.test_positions)
    write_predictions(stage.folder / "test.npz", experiment.competition.test["id"], test, classes, list(views))
    if fold == FULL:
        stage.finish(started)
        print(f"{stage.label}: {len(experiment.test_positions)} test rows of {len(views)} views", flush=True)
        return
    oof = predict("oof", held_out)
    write_predictions(stage.folder / "oof.npz", experiment.split["id"][held_out], oof, classes, list(views))
    scores = untuned_scores(experiment, held_out, oof)
    stage.finish(started, metric=experiment.metric.name, raw=scores[BLEND], prototypes=scores.get(PROTOTYPES))
    apart = f" (head {scores[HEAD]:.4f}, class means {scores[PROTOTYPES]:.4f})" if PROTOTYPES in scores else ""
    print(
        f"{stage.label}: out-of-fold {experiment.metric.title} {scores[BLEND]:.4f} of {len(views)} views, nothing tuned"
        f"{apart}",
        flush=True,
    )


def untuned_scores(experiment: Experiment, rows: Rows, oof: Predicted) -> dict[str, float]:
    """Return the score of the held-out rows by the head, by the class means and by their blend."""
    metric, true = experiment.metric, experiment.labels[rows]
    weight = experiment.call.settings.predict.prototype_weight
    return {
        name: metric.score(true, metric.untuned(merge_views(logits, 1.0)))
        for name, logits in {BLEND: blend(oof, weight), **oof}.items()
    }


if __name__ == "__main__":
    run_stage(main)
