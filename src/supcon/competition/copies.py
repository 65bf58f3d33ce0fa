"""Copies among the host's images: rows that must share a fold, and facts that the user should know."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from supcon.competition.folds import join_groups
from supcon.competition.read import Competition

Pairs = npt.NDArray[np.int64]  # [pairs, 2]: positions among all images, training rows first


@dataclass(frozen=True)
class Copies:
    """Images that show the same, equal or nearly so, in pairs: the first training row of a group, and a copy of it."""

    within_train: Pairs  # two training rows, which share a fold
    contradictions: Pairs  # two training rows with different labels
    test_in_train: Pairs  # a training row and a test row

    def text(self, competition: Competition) -> list[str]:
        """Return a line for each kind of copies that there is."""
        paths, labels = competition.paths, list(competition.train["label"])

        def shown(pairs: Pairs) -> str:
            names = (paths[row] + (f" ({labels[row]})" if row < len(labels) else "") for row in pairs[0].tolist())
            return " and ".join(names)

        lines = []
        if len(self.within_train):
            lines.append(f"{len(self.within_train)} training images are copies of others: copies share a fold")
        if len(self.contradictions):
            lines.append(
                f"{len(self.contradictions)} of them have another label, first {shown(self.contradictions)}:"
                " one of the two is wrong"
            )
        if len(self.test_in_train):
            lines.append(f"{len(self.test_in_train)} test images are copies of training images, first"
                         f" {shown(self.test_in_train)}: scores of such rows say little")  # fmt: skip
        return lines


def find_copies(competition: Competition, pairs: Pairs) -> Copies:
    """Group `pairs` of copies among all images (copies of copies are copies), and sort them by kind."""
    rows = len(competition.train)
    group = join_groups([""] * len(competition.paths), pairs)
    first = np.full(group.max(initial=-1) + 1, -1)
    members = np.arange(rows)[::-1]
    first[group[members]] = members  # the first training row of each group
    original = first[group]
    linked = np.flatnonzero((original >= 0) & (original != np.arange(len(group))))
    copies = np.column_stack([original[linked], linked]).astype(np.int64)
    within, labels = copies[copies[:, 1] < rows], competition.train["label"].to_numpy()
    differ = labels[within[:, 0]] != labels[within[:, 1]]
    return Copies(within, within[differ], copies[copies[:, 1] >= rows])
