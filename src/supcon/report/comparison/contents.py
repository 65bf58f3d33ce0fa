"""What a comparison holds, in this order."""

from collections.abc import Callable, Sequence
from functools import partial

from tqdm import tqdm

from supcon.report.comparison.differences import class_differences, disagreements
from supcon.report.comparison.properties import calibration, differing_settings, embedding_quality, robustness
from supcon.report.comparison.run_comparison import RunComparison
from supcon.report.comparison.scatter import scatter
from supcon.report.comparison.scores import paired_tests, scores
from supcon.report.page import Block, Section, make_section

Maker = Callable[[RunComparison], Sequence[Block]]

CONTENTS: dict[str, Maker] = {
    "Scores": scores,
    "Paired tests": paired_tests,
    "Classes": class_differences,
    "Where one is right": disagreements,
    "Calibration": calibration,
    "Embedding quality": embedding_quality,
    "Damaged images": robustness,
    "Seeds and learning rates": scatter,
    "Settings apart": differing_settings,
}


def sections(comparison: RunComparison) -> list[Section]:
    """Return the comparison's sections; one whose data is missing says so."""
    shown = tqdm(CONTENTS.items(), "compare", unit="section", leave=False, disable=None)
    return [make_section(title, partial(maker, comparison)) for title, maker in shown]
