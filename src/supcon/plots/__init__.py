"""Figures of a run, for reports and notebooks: each function takes arrays or tables and returns a matplotlib Figure.

Nothing here reads a file or touches pyplot's global state. All figures share one look (`look`), can be read at the
width of a phone, and show any name as it is: `$` and `_` are no markup, and characters that the font lacks become a
box. `as_png` returns a figure as a picture.
"""

from supcon.plots.calibration import reliability
from supcon.plots.classes import class_costs, per_class_difference
from supcon.plots.confusion import cluster_order, confusion
from supcon.plots.corruptions import corruption_curves, corruption_heat
from supcon.plots.embeddings import Projection, embedding_map, project
from supcon.plots.look import as_png
from supcon.plots.scores import Gain, Interval, differences, ladder, score_intervals, stability
from supcon.plots.training import learning_curves, stage_times

__all__ = [
    "Gain",
    "Interval",
    "Projection",
    "as_png",
    "class_costs",
    "cluster_order",
    "confusion",
    "corruption_curves",
    "corruption_heat",
    "differences",
    "embedding_map",
    "ladder",
    "learning_curves",
    "per_class_difference",
    "project",
    "reliability",
    "score_intervals",
    "stability",
    "stage_times",
]
