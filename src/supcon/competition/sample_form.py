"""What the host's cells tell: which form the sample asks for, and whether rows have several labels."""

import math
import re
import shlex
from collections.abc import Iterator, Sequence

import pandas as pd

from supcon.competition.form import Form
from supcon.competition.sample import Sample, shown_columns
from supcon.errors import UserError
from supcon.settings.settings import DataSettings

_OPPOSITES = {  # of the class that a column of one probability means
    "1": "0", "true": "false", "t": "f", "yes": "no", "y": "n", "positive": "negative", "pos": "neg",
}  # fmt: skip
_NO_LABEL = {"nan", "null", "<na>", "n/a", "#n/a"}
_SEPARATORS = (" ", ", ", ",", "; ", ";", "|", "/", ">", "+")  # between the labels of a cell


def form_of_sample(sample: Sample, classes: Sequence[str], settings: DataSettings, notes: list[str]) -> Form:
    """Return the form that the sample asks for: its cells tell, or the settings.

    What is read otherwise than as it stands becomes a line of `notes`. Raises `UserError`, naming the setting that
    tells, where the cells fit several forms or none.
    """
    if sample.one_hot:
        return _form_of_columns(sample, classes, settings, notes)
    cells = [cell for cell in sample.cells[sample.targets[0]] if cell.strip()]  # an empty one only holds a place
    odd = list(_unlike(cells, classes))
    named = "prob" in sample.targets[0].lower() and all(map(_is_share, cells))
    asked = settings.submit == "probability" or bool(settings.positive_class)
    if settings.submit == "label" or not (odd or asked or named):
        return Form(sample.targets)
    found = f"{sample.path.name} holds {(odd or cells or [''])[0]!r} in its column {sample.targets[0]!r}"
    if asked or named or _are_shares(cells, odd):
        return Form(sample.targets, _positive_class(found, sample, classes, settings))
    if ranking := _ranking(sample, cells, set(classes)):
        notes.append(
            f"{found}: the {ranking.labels} likeliest labels are written there, the likeliest first"
            " (--data.submit label writes that one alone)"
        )
        return ranking
    if _misleads(odd[0], classes):
        raise UserError(
            f"{found}, which is no class (these are {shown_columns(list(classes))}): --data.submit label writes the"
            " class as the training rows spell it, --data.positive_class NAME that class's probability"
        )
    notes.append(f"{found}, which is no class of the training rows: it is taken to hold a place")
    return Form(sample.targets)


def _misleads(cell: str, classes: Sequence[str]) -> bool:
    """Say whether a cell that is no class more likely means something else than to hold a place."""
    number, numbers = _number(cell), [name for name in classes if _number(name) is not None]
    if number is not None:
        return not numbers or (len(numbers) == len(classes) and number > 0)
    if re.search(r"\d ?%$", cell) or len(numbers) == len(classes):
        return True
    return bool({part.casefold() for part in labels_in(cell)} & {name.casefold() for name in classes})


def _form_of_columns(sample: Sample, classes: Sequence[str], settings: DataSettings, notes: list[str]) -> Form:
    """Return the form of a column for each class. A column that is no class of the training rows is to hold 0."""
    if settings.positive_class or settings.submit == "label":
        given = "positive_class" if settings.positive_class else "submit label"
        raise UserError(f"{sample.path} has several columns, which --data.{given} does not fit: leave it out")
    extra = [name for name in sample.targets if name not in set(classes)]
    first = sample.cells.iloc[0]
    odd = [name for name in sample.targets if first[name].strip() and not _is_share(first[name])]
    words = [name for name in odd if name in set(extra)]
    if words:
        raise UserError(
            f"{sample.path} holds {first[words[0]]!r} in the column {words[0]!r}, which is no class of the training"
            " rows: needed are the id and one column a class, or the id and one column of labels"
        )
    lacking = sorted(set(classes) - set(sample.targets))
    if lacking:
        raise UserError(
            f"the training rows have the class {lacking[0]!r}, for which {sample.path} has no column: add it, or remove"
            " the rows of that class"
        )
    if odd and settings.submit == "auto":
        raise UserError(
            f"{sample.path} holds {first[odd[0]]!r} in the column {odd[0]!r}, where probabilities from 0 to 1 are to be"
            " written: --data.submit probability says that this is right"
        )
    if extra:
        notes.append(
            f"the column {extra[0]!r} of {sample.path.name} is no class of the training rows: it gets probability 0"
            f" ({len(extra)} such columns)"
        )
    return Form(sample.targets)


def _are_shares(cells: Sequence[str], odd: Sequence[str]) -> bool:
    """Say whether the cells are probabilities: numbers from 0 to 1, with a fraction that is no class."""
    fractions = [number for cell in odd if (number := _number(cell)) is not None and not number.is_integer()]
    return bool(fractions) and all(map(_is_share, cells))


def _is_share(cell: str) -> bool:
    number = _number(cell)
    return number is not None and 0 <= number <= 1


def _positive_class(found: str, sample: Sample, classes: Sequence[str], settings: DataSettings) -> str:
    """Return the class whose probability the one column holds. Raises `UserError` where nothing tells."""
    if settings.positive_class:
        if settings.positive_class not in classes:
            raise UserError(
                f"--data.positive_class {settings.positive_class} is no class of the training rows, which has"
                f" {shown_columns(list(classes))}: name one of them"
            )
        return settings.positive_class
    told = [name for name in classes if _is_positive(name, sample.targets[0], classes)]
    if len(classes) == 2 and len(told) == 1:
        return told[0]
    named = " or ".join(f"--data.positive_class {shlex.quote(name)}" for name in classes[:2])
    several = "" if len(classes) == 2 else f" (or another of the {len(classes)} classes)"
    raise UserError(
        f"{found}, the probability of one class; of which? Add {named}{several}; --data.submit label writes labels"
    )


def _is_positive(name: str, column: str, classes: Sequence[str]) -> bool:
    """Say whether a class is the one that a column of one probability means: by its name, or by that of the other."""
    own, plain = _plain(name), _plain(re.sub(r"^(is|has|p|prob|proba|probability)[ _]", "", column.strip().lower()))
    others = {_plain(other) for other in classes if other != name}
    negated = {f"{word}{own}" for word in ("no", "not", "non")} | {_OPPOSITES.get(own)}
    return own in (plain, _plain(column)) or bool(others & negated)


def _plain(text: str) -> str:
    """Return letters and digits alone, in small letters, and a whole number without its point."""
    number = _number(text)
    return f"{number:g}" if number is not None else re.sub(r"[\W_]", "", text.casefold())


def _ranking(sample: Sample, cells: Sequence[str], classes: set[str]) -> Form | None:
    """Return the form of several labels a cell where all cells hold equally many; None where they do not."""
    for separator in _SEPARATORS:
        parts = [cell.split(separator) for cell in cells]
        count = len(parts[0])
        if 1 < count <= len(classes) and all(len(own) == count and set(own) <= classes for own in parts):
            apart = not any(separator in name for name in classes)
            return Form(sample.targets, labels=count, separator=separator) if apart else None
    return None


def labels_in(cell: str) -> list[str]:
    """Return the labels that a cell may hold: its words, or what stands between commas, slashes and the like."""
    return [part for part in re.split(r"[\s,;|/>+:\[\](){}'\"]+", cell) if part]


def combined_labels(labels: pd.Series) -> str:
    """Return the line for labels that are made of other ones, as of rows with several; empty where there are none."""
    classes = set(labels.unique())
    combined = [name for name in classes if len(classes & set(labels_in(name))) > 1]
    rows = labels[labels.isin(combined)]
    if len(rows) == 0:
        return ""
    return (
        f"{len(rows):,} training rows have several labels, such as {rows.iloc[0]!r}: a row gets one label here, so each"
        f" such combination ({len(combined):,}) is a class of its own; leave them out to learn single labels"
    )


def missing_labels(labels: pd.Series) -> str:
    """Return the line for labels that mean "none" in tables of other programs; empty where there are none."""
    words = [label for label in labels.unique() if label.strip().casefold() in _NO_LABEL]
    rows = labels[labels.isin(words)]
    if len(rows) == 0:
        return ""
    return (
        f"{len(rows):,} training rows have the label {rows.iloc[0]!r}, a class of its own here: remove them where it"
        " stands for no label"
    )


def _unlike(cells: Sequence[str], classes: Sequence[str]) -> Iterator[str]:
    """Yield the cells that are no class, however it is spelled."""
    known = set(classes)
    odd = [cell for cell in cells if cell not in known]
    if odd:
        alike, numbers = {name.strip().casefold() for name in classes}, {_number(name) for name in classes} - {None}
        yield from (cell for cell in odd if cell.strip().casefold() not in alike and _number(cell) not in numbers)


def _number(cell: str) -> float | None:
    try:
        number = float(cell)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
