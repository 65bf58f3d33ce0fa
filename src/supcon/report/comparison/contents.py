"""What a comparison holds, in this order."""

from collections.abc import Callable, Sequence
from functools import partial

from tqdm import tqdm

from supcon.report.comparison.differences import differences, rights
from supcon.report.comparison.properties import calibrations, qualities, robustnesses, settings_apart
from supcon.report.comparison.run_comparison import RunComparison
from supcon.report.comparison.scatter import scatter
from supcon.report.comparison.scores import paired_tests, scores
from supcon.report.page import Block, Section, make_section

Maker = Callable[[RunComparison], Sequence[Block]]

CONTENTS: dict[str, Maker] = {
    "Scores": scores,
    "Paired tests": paired_tests,
    "Classes": differences,
    "Where one is right": rights,
    "Calibration": calibrations,
    "Embedding quality": qualities,
    "Damaged images": robustnesses,
    "Seeds and learning rates": scatter,
    "Settings apart": settings_apart,
}


def sections(comparison: RunComparison) -> list[Section]:
    """Return the comparison's sections; one whose data is missing says so."""
    shown = tqdm(CONTENTS.items(), "compare", unit="section", leave=False, disable=None)
    return [make_section(title, partial(maker, comparison)) for title, maker in shown]
