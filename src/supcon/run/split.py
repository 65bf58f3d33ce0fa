"""The label, group and fold of each training row, as numbers."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from supcon.arrays import ClassCounts, Folds, Groups, Labels, Rows
from supcon.competition.folds import LEFT_OUT, TRAIN_ONLY
from supcon.storage.files import digest_rows


@dataclass(frozen=True)
class Split:
    """The rows of folds.csv, in the order of the training table."""

    table: pd.DataFrame  # id, label, group, fold

    def __len__(self) -> int:
        return len(self.table)

    @property
    def ids(self) -> pd.Series:
        """The rows' ids."""
        return self.table["id"]

    @cached_property
    def classes(self) -> list[str]:
        """Class names of the rows that are not left out, sorted by code point; a class number is an index into them."""
        return sorted(self.table["label"][self.fold > LEFT_OUT].unique())

    @cached_property
    def labels(self) -> Labels:
        """Class numbers of the training rows; -1 where a row is left out with its whole class."""
        return pd.Index(self.classes).get_indexer(pd.Index(self.table["label"])).astype(np.int64)

    @cached_property
    def fold(self) -> Folds:
        """Fold numbers of the training rows; TRAIN_ONLY and LEFT_OUT are below 0."""
        return np.array(self.table["fold"], dtype=np.int64)

    @cached_property
    def scored_groups(self) -> Groups | None:
        """Group numbers of the scored rows; None where no row has a group."""
        return None if self.groups is None else self.groups[self.scored_rows]

    @cached_property
    def groups(self) -> Groups | None:
        """Group numbers of the training rows, a row without a group has its own; None where no row has a group."""
        alone = (self.table["group"] == "").to_numpy()
        if alone.all():
            return None
        number, names = pd.factorize(self.table["group"])
        return np.unique(np.where(alone, len(names) + np.arange(len(number)), number), return_inverse=True)[1]

    def rows_of(self, fold: int) -> Rows:
        """Return the row numbers of a fold's held-out rows; none for FULL."""
        return np.flatnonzero(self.fold == fold)

    def training_rows_of(self, fold: int) -> Rows:
        """Return the row numbers that a fold's models may be trained on."""
        return np.flatnonzero((self.fold != fold) & (self.fold > LEFT_OUT))

    def few_rows_of(self, fold: int, shots: int, seed: int) -> Rows:
        """Return `shots` random training rows of each class of a fold, ascending; all of them where `shots` is 0."""
        rows = self.training_rows_of(fold)
        if shots == 0:
            return rows
        shuffled = np.random.default_rng(seed).permutation(rows)
        by_class = shuffled[np.argsort(self.labels[shuffled], kind="stable")]
        _, first, number = np.unique(self.labels[by_class], return_index=True, return_inverse=True)
        return np.sort(by_class[np.arange(len(by_class)) - first[number] < shots])

    @cached_property
    def unscored(self) -> ClassCounts:
        """How many rows of each class are always trained on and never scored, [classes]."""
        return np.bincount(self.labels[self.fold == TRAIN_ONLY], minlength=len(self.classes))

    @cached_property
    def scored_rows(self) -> Rows:
        """Row numbers of the training rows that some fold holds out, in their order."""
        return np.flatnonzero(self.fold >= 0)

    @property
    def scored_ids(self) -> pd.Series:
        """The ids of `scored_rows`."""
        return self.ids.iloc[self.scored_rows]

    @cached_property
    def digest(self) -> str:
        """One hash of every row's id, label and fold."""
        columns = (self.table[name].to_numpy(dtype=object).tolist() for name in ("id", "label", "fold"))
        return digest_rows(zip(*columns, strict=True))
