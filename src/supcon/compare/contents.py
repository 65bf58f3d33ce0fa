"""What a comparison holds, in this order."""

from collections.abc import Callable, Sequence

from tqdm import tqdm

from supcon.compare.places import differences, rights
from supcon.compare.qualities import calibrations, qualities, robustnesses, settings_apart
from supcon.compare.scatter import scatter
from supcon.compare.scores import paired_tests, scores
from supcon.compare.standings import Standings
from supcon.report.page import Block, Section, Text
from supcon.report.run import Missing

Maker = Callable[[Standings], Sequence[Block]]

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


def sections(standings: Standings) -> list[Section]:
    """Return the comparison's sections; one whose data is missing says so."""
    shown = tqdm(CONTENTS.items(), "compare", unit="section", leave=False, disable=None)
    return [Section(title, _made_or_missing(maker, standings)) for title, maker in shown]


def _made_or_missing(maker: Maker, standings: Standings) -> Sequence[Block]:
    try:
        return maker(standings)
    except Missing as reason:
        return [Text(str(reason))]
