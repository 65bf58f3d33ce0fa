"""The study's picture: each round's mean differences to the baseline, with two standard errors either way."""

from collections.abc import Sequence
from pathlib import Path

from supcon.metrics.metric import Metric
from supcon.storage.files import write_atomic
from supcon.study.compare import VariantResult
from supcon.study.progress import RoundResult


def write_plot(path: Path, rounds: Sequence[RoundResult], name: str, baseline: str, metric: Metric) -> None:
    """Draw one panel a round, best on top; rounds without a difference are left out, and no picture is left of none."""
    from supcon.plots import as_png, differences  # a second to import

    panels = {}
    for outcome in rounds:
        gains = [(line, line.gain) for line in outcome.variants if line.gain]
        if gains:
            title = f"round {outcome.number}, errors over {_cells([line for line, _ in gains])}"
            panels[title] = {line.variant + "*" * line.unequal: (gain.value, gain.error) for line, gain in gains}
    if panels:
        unequal = "; *: unequal passes" if any("*" in variant for lines in panels.values() for variant in lines) else ""
        better = " (lower is better)" if metric.sign < 0 else ""
        picture = as_png(differences(panels, f"{metric.title} over {baseline}{better}{unequal}", f"study {name}"))
        write_atomic(path, lambda file: file.write(picture))
    else:
        path.unlink(missing_ok=True)


def _cells(lines: Sequence[VariantResult]) -> str:
    """Return what the standard errors are over, where variants may have fewer cells than others."""
    counts = {line.gain.cells for line in lines if line.gain}
    if counts == {1}:
        return "rows of 1 cell"
    return f"{max(counts)} cells" if len(counts) == 1 else f"{min(counts)} to {max(counts)} cells"
