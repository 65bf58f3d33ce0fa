"""The form that the host asks for, a label a row, the likeliest ones or probabilities, and the rows written in it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from supcon.arrays import Probabilities
from supcon.competition.sample import Sample
from supcon.errors import UserError
from supcon.metrics.metric import Prediction
from supcon.metrics.top_k import Matrix, TopK, blocks, kept_values, value_of

_DIGITS = 12  # of a probability: rows of thousands of classes still sum to 1 within 1e-9


@dataclass(frozen=True)
class Form:
    """What stands in a submission's columns after the id."""

    targets: list[str]
    positive: str = ""  # the class whose probability the one column holds; empty where it holds labels
    labels: int = 1  # how many of these a cell holds, the likeliest first
    separator: str = " "  # between them

    @property
    def of_probabilities(self) -> bool:
        """Whether the host asks for probabilities, and not for labels."""
        return bool(self.positive) or len(self.targets) > 1

    @property
    def takes_labels(self) -> bool:
        """Whether a decided label a row is all that it takes."""
        return not self.of_probabilities and self.labels == 1

    def __str__(self) -> str:
        if len(self.targets) > 1:
            return f"a probability of each of {len(self.targets)} classes"
        if self.positive:
            return f"the probability of {self.positive!r}"
        return "a label" if self.labels == 1 else f"the {self.labels} likeliest labels"


def submission_rows(
    sample: Sample, form: Form, ids: Sequence[str], classes: Sequence[str], predicted: Prediction
) -> pd.DataFrame:
    """Return the submission's rows, with the sample's columns in its order.

    `predicted` are class numbers [rows] where the form takes labels, else log-probabilities [rows, classes], of the
    rows with `ids`. Raises `UserError` where an id of the sample has no prediction.
    """
    rows = _rows(sample, form, ids, classes, predicted)
    return rows.assign(**{str(name): cells.to_numpy() for name, cells in sample.counters.items()})[sample.columns]


def _rows(
    sample: Sample, form: Form, ids: Sequence[str], classes: Sequence[str], predicted: Prediction
) -> pd.DataFrame:
    if form.takes_labels:
        return label_rows(sample, {name: classes[label] for name, label in zip(ids, predicted.tolist(), strict=True)})
    if form.positive:
        if form.positive not in classes:
            raise UserError(f"--data.positive_class {form.positive}: no training row of it has a readable image")
        number = np.full(len(ids), list(classes).index(form.positive))
        shares = map(_written, np.exp(value_of(predicted, number)).tolist())
        return label_rows(sample, dict(zip(ids, shares, strict=True)))
    if form.labels > 1:
        names = (form.separator.join(classes[number] for number in row) for row in _top_classes(predicted, form.labels))
        return label_rows(sample, dict(zip(ids, names, strict=True)))
    values = predicted.dense() if isinstance(predicted, TopK) else predicted
    return probability_rows(sample, ids, np.exp(values), classes)


def label_rows(sample: Sample, cells: Mapping[str, str]) -> pd.DataFrame:
    """Return the submission's rows of `cells`, by id what its column holds. Raises `UserError` where an id has none."""
    lacking = [name for name in sample.ids if name not in cells]
    if lacking:
        raise UserError(f"{len(lacking)} test rows have no prediction, first {lacking[0]!r}: run predict")
    return pd.DataFrame({sample.id_column: sample.ids, sample.targets[0]: [cells[name] for name in sample.ids]})


def probability_rows(
    sample: Sample, ids: Sequence[str], probabilities: Probabilities, classes: Sequence[str]
) -> pd.DataFrame:
    """Return the submission's rows for the probabilities [rows, classes] of the rows with `ids`.

    A column of the sample that is none of `classes` holds 0.
    """
    table = pd.DataFrame(probabilities, index=list(ids), columns=list(classes)).loc[sample.ids]
    table = table.reindex(columns=sample.targets, fill_value=0.0).map(_written)
    table.insert(0, sample.id_column, sample.ids.to_numpy(), allow_duplicates=True)
    return table


def _written(share: float) -> str:
    return f"{share:.{_DIGITS}g}"


def _top_classes(log_probabilities: Matrix, count: int) -> Iterator[list[int]]:
    """Yield the numbers of each row's likeliest classes, the likeliest first."""
    for block in blocks(log_probabilities):
        values, numbers = kept_values(block)
        columns = np.argsort(-values, axis=1, kind="stable")[:, :count]
        yield from (columns if numbers is None else np.take_along_axis(numbers, columns, axis=1)).tolist()
