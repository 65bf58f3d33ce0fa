"""Predict each fold's held-out rows and the test rows: logits of every test-time view, and the run's CSV files."""

from supcon.environment import hand_over

hand_over(__name__)

import time

from supcon.arrays import Rows
from supcon.cluster.folds import fold_command
from supcon.decision.merge import CLASS_MEANS, HEAD, NEIGHBOURS, blend, head_and_class_means, merge_views
from supcon.errors import run_stage
from supcon.run.experiment import Experiment, load_experiment
from supcon.run.predictions import EMBEDDINGS, HELD_OUT, TEST, Predicted, write_embeddings, write_predictions
from supcon.run.runs import remove_tables, write_tables
from supcon.run.stage import StageRun
from supcon.settings import FULL, Request

BLEND = "blend"  # of the head and the class means, as predict.class_mean_weight says


def run(request: Request) -> None:
    """Run the stage for the folds asked for."""
    experiment = load_experiment(request)
    predicted = False
    for fold, stage in experiment.work("predict"):
        remove_tables(experiment)  # of the predictions before
        predict_fold(experiment, stage, fold)
        predicted = True
    write_tables(experiment, anew=predicted)


def predict_fold(experiment: Experiment, stage: StageRun, fold: int) -> None:
    """Write oof.npz and test.npz, both by the same model, views, precision and code; and embeddings.npz.

    FULL has no held-out rows, so no oof.npz.
    """
    hidden = " (the host hides their images)" * experiment.competition.hides_test
    rows = f"{len(experiment.split.rows_of(fold)):,} held-out and {len(experiment.test_positions):,} test rows{hidden}"
    print(f"{stage.label}: {rows} of up to {experiment.settings.predict.views} views each", flush=True)
    from supcon.training.predictor import Predictor

    started = time.time()
    predictor = Predictor.load(experiment, fold, stage.folder)
    for position in sorted(predictor.images.problems):
        if position >= len(experiment.split):
            print(
                f"{stage.label}: {experiment.competition.paths[position]} is unreadable: its row gets the class shares"
            )
    held_out, classes, views = experiment.split.rows_of(fold), experiment.split.classes, list(predictor.views)
    if fold != FULL:
        ids = experiment.split.ids.iloc[held_out]
        oof = predictor.predict(HELD_OUT, ids, held_out, f"{stage.label} oof")
        write_predictions(stage.folder / "oof.npz", ids, oof, classes, views)
    ids = experiment.competition.test["id"]
    test = predictor.predict(TEST, ids, experiment.test_positions, f"{stage.label} test")
    write_predictions(stage.folder / "test.npz", ids, test, classes, views)
    write_embeddings(stage.folder / EMBEDDINGS, predictor.embeddings())
    if fold == FULL:
        stage.finish(started)
        print(f"{stage.label}: {len(ids)} test rows of {len(views)} views", flush=True)
        return
    scores = untuned_scores(experiment, held_out, oof)
    stage.finish(started, metric=experiment.metric.name, raw=scores[BLEND], prototypes=scores.get(CLASS_MEANS))
    called = {HEAD: "head", CLASS_MEANS: "class means", NEIGHBOURS: "neighbours"}
    apart = ", ".join(f"{called[name]} {score:z.4f}" for name, score in scores.items() if name != BLEND)
    print(
        f"{stage.label}: out-of-fold {experiment.metric.title} {scores[BLEND]:z.4f} of {len(views)} views, nothing"
        f" tuned{f' ({apart})' if len(scores) > 2 else ''}",
        flush=True,
    )


def untuned_scores(experiment: Experiment, rows: Rows, oof: Predicted) -> dict[str, float]:
    """Return the score of the held-out rows by all that predict, and by the blend of head and class means."""
    metric, true = experiment.metric, experiment.split.labels[rows]
    shares = head_and_class_means(experiment.settings.predict.class_mean_weight)
    return {
        name: metric.score(true, metric.untuned(merge_views(logits, 1.0)))
        for name, logits in {BLEND: blend(oof, shares), **oof}.items()
    }


main = fold_command("predict", run, __doc__, blends=True)

if __name__ == "__main__":
    run_stage(main)
