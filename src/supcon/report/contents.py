"""What a report holds, in this order."""

from collections.abc import Callable, Sequence
from functools import partial

from supcon.report.classes import classes, confusions, duplicates, label_errors, mistakes, pairs
from supcon.report.embeddings import drift, maps, quality
from supcon.report.page import Block, Section, make_sections
from supcon.report.robustness import robustness
from supcon.report.run import Run
from supcon.report.scores import calibration, gains, scores
from supcon.report.summary import summary
from supcon.report.training import costs, curves, settings

CONTENTS: dict[str, Callable[[Run], Sequence[Block]]] = {
    "Summary": summary,
    "Scores": scores,
    "Classes": classes,
    "Confusions": confusions,
    "Confident mistakes": mistakes,
    "Confusable pairs": pairs,
    "Probable label errors": label_errors,
    "Near-duplicates": duplicates,
    "What each step added": gains,
    "Calibration": calibration,
    "Learning curves": curves,
    "Embedding map": maps,
    "Embedding quality": quality,
    "Train and test": drift,
    "Damaged images": robustness,
    "Time and memory": costs,
    "Settings": settings,
}


def sections(run: Run, baseline: Run | None = None) -> list[Section]:
    """Return the report's sections."""
    return make_sections(CONTENTS | {"Damaged images": partial(robustness, baseline=baseline)}, run, "report")
