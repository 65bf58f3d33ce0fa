"""Sections on the scores: what the run scores, what views, folds and tuning each added, and calibration."""

from dataclasses import replace

import numpy as np

from supcon.decision.calibration import negative_log_likelihood
from supcon.decision.logits import LoadedLogits, map_blocks
from supcon.decision.merge import merge_views
from supcon.metrics.calibration import calibration_error, reliability_bins
from supcon.metrics.of_probabilities import LogProbabilities
from supcon.metrics.top_k import TopK
from supcon.plots import Gain, Interval, ladder, reliability, score_intervals
from supcon.report.page import Block, Figure, Table, Text
from supcon.report.pictures import of_figure
from supcon.report.run import Run
from supcon.run.scores import POOLED, Score


def scores(run: Run) -> list[Block]:
    """Show the score of each fold and of all, cross-fitted beside untuned and in-sample."""
    table, metric = run.table, run.metric.title
    intervals = {
        kind: {fold: interval(score) for fold, score in by_fold.items()}
        for kind, by_fold in (("cross-fitted", table.cross_fitted), ("untuned", table.raw))
    }
    counts = {f"fold {fold}": int((run.fold == fold).sum()) for fold in run.folds} | {POOLED: len(run.rows)}
    figure = score_intervals(intervals, metric, f"Out-of-fold {metric}", f"95 % bootstrap over {run.unit}")
    rows = [[name, f"{counts[name]:,}", str(table.cross_fitted[name]), str(table.raw[name])] for name in table.raw]
    in_sample, honest = run.decision["in_sample"], table.cross_fitted[POOLED]
    blocks: list[Block] = [
        Text(
            "Every row is predicted by a model that never saw it, and decided by a rule made on the other folds"
            " (cross-fitted). Untuned is the likeliest class of all views."
        ),
        Figure(of_figure(figure, f"{metric} of each fold and pooled")),
        Table(["", "rows", "cross-fitted [95 %]", "untuned [95 %]"], rows),
        Text(
            f"The rule for the test rows reaches {in_sample:z.4f} on the rows that it was tuned on (in-sample). Only"
            f" the cross-fitted {honest.score:z.4f} is to be believed:"
            f" {_promise(run, in_sample - honest.score, honest)}"
        ),
    ]
    if private := run.scores.get("private"):
        ensemble = Score(**private["ensemble"])
        single = f"{private['single_mean']:z.4f}"
        blocks.append(Text(f"On the private labels: single folds {single} on average, all folds together {ensemble}."))
    return blocks


def interval(score: Score) -> Interval:
    """Return what is drawn of a score."""
    return score.score, score.low, score.high


def gains(run: Run) -> list[Block]:
    """Show what views, tuning and folds each added."""
    metric, untuned = run.metric, run.decision["ladder"][0]
    views = views_gain(run) if len(run.runs) == 1 else None  # several runs have views of their own
    start, begin, tuning = untuned["cross_fitted"], untuned["rung"], run.decision["ladder"][1:]
    steps = [Gain(rung["rung"], rung["gain"], rung["standard_error"], rung["chosen"]) for rung in tuning]
    if views:
        start, begin = run.score(metric.untuned(first_view(run))), "plain view"
        steps.insert(0, views)
    drawn = ladder(start, [replace(step, value=metric.sign * step.value) for step in steps], metric.title, begin=begin)
    rows = [[begin, f"{start:z.4f}", "", ""]]
    rows += [
        [step.name, f"{step.value:+z.4f}", f"{step.standard_error:.4f}", "yes" if step.used else "no"] for step in steps
    ]
    blocks: list[Block] = [
        Text(
            "Step by step. Tuning is judged cross-fitted, and used where it gains more than the standard error of its"
            " paired difference. Gains above 0 are better."
        ),
        Figure(of_figure(drawn, "What each step added")),
    ]
    if private := run.scores.get("private"):
        gain = metric.sign * (private["ensemble"]["score"] - private["single_mean"])
        rows.append(["all folds together (private labels)", f"{gain:+z.4f}", "", "yes"])
    else:
        blocks.append(Text("What merging the folds' models adds shows on test rows alone: input/solution.csv tells."))
    blocks.append(Table(["step", metric.title, "standard error", "used"], rows))
    if run.blended:
        weights = run.decision["rule"]["weights"].items()
        blocks.append(Table(["run", "weight in the blend"], [[name, f"{weight:.3f}"] for name, weight in weights]))
    return blocks


def calibration(run: Run) -> list[Block]:
    """Show the reliability diagram, ECE and NLL before and after the temperature."""
    states = {"as predicted": run.log_probabilities, "at the temperature": run.calibrated}
    before, after = (reliability_bins(predicted, run.true) for predicted in states.values())
    rows = [
        [name, f"{negative_log_likelihood(predicted, run.true):.4f}", f"{calibration_error(predicted, run.true):.4f}"]
        for name, predicted in states.items()
    ]
    fitted = list(run.temperatures.values())
    return [
        Text(
            "Temperature divides the logits before views are merged; above 1 it makes the model less sure. Each fold's"
            f" is fitted to the other folds: {np.mean(fitted):.2f} on average, {min(fitted):.2f} to {max(fitted):.2f}."
        ),
        Figure(
            of_figure(reliability(before, after), "Accuracy over confidence"),
            "On the diagonal a confidence is kept; below it the model is too sure of itself.",
        ),
        Table(["probabilities", "NLL", "ECE"], rows, "Out of fold; lower is better"),
    ]


def first_view(run: Run) -> LogProbabilities:
    """Return the log-probabilities [rows, classes] of the plain view alone."""

    def merge_block(block: list[LoadedLogits]) -> LogProbabilities:
        return merge_views(block[0].of_view(0) if isinstance(block[0], TopK) else block[0][:, :1], 1.0)

    return map_blocks(merge_block, [run.logits])


def views_gain(run: Run) -> Gain | None:
    """Return what the other views add to the plain one, None where there are none."""
    views, metric = run.logits.shape[1], run.metric
    if views == 1:
        return None
    plain, merged = (metric.untuned(predicted) for predicted in (first_view(run), run.log_probabilities))
    before, after = run.bootstrap([plain, merged])
    gain = metric.sign * (run.score(merged) - run.score(plain))
    return Gain(f"{views - 1} more view{'s' * (views > 2)}", gain, float(np.std(after - before)))


def _promise(run: Run, difference: float, honest: Score) -> str:
    if run.metric.sign * difference > honest.standard_error:
        return "the rest is tuning to noise."
    return "here they agree within a standard error."
