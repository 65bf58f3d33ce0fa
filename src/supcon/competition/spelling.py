"""Labels that differ by how they are written alone: in upper and lower case, blanks, or the spelling of numbers."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from pathlib import Path

import pandas as pd

from supcon.competition.sample import Sample
from supcon.errors import UserError
from supcon.settings.settings import DataSettings

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d\d?)?")
_QUOTES = re.compile(r"""^\[?['"]|['"]\]?$""")  # of lists, too
_STYLES: Sequence[Callable[[str], str]] = (  # by which all labels of the training rows may differ from the sample's
    str.strip,
    lambda label: unicodedata.normalize("NFC", label.strip()),
    lambda label: _QUOTES.sub("", label.strip()),
    lambda label: re.sub(r"^(-?\d+)\.0*$", r"\1", label.strip()),
    lambda label: re.sub(r"^(-?\d+)$", r"\1.0", label.strip()),
)


def spelling_of(
    labels: pd.Series, path: Path, sample: Sample, settings: DataSettings, notes: list[str]
) -> dict[str, str]:
    """Return how to write the labels of the training rows that are not to stay as they stand in `path`.

    Each class gets one spelling: that of the sample where it tells, else the most frequent one. What is changed, or
    looks odd and stays, is added to `notes`. Raises `UserError` where the sample writes a class otherwise than all
    training rows and does not tell how to write the others.
    """
    if settings.label_spelling == "keep":
        return {}
    counts = {str(label): count for label, count in labels.value_counts(sort=False).items()}
    kinds, told_kinds = _by_kind(counts, settings), _by_kind(sample.told, settings)
    told = {kind: spellings[0] for kind, spellings in told_kinds.items() if kind in kinds and len(spellings) == 1}
    kinds = {kind: spellings for kind, spellings in kinds.items() if kind in told or kind not in told_kinds}
    style = _style(kinds, told, sample)
    if style is None:
        kind = next(kind for kind in told if told[kind] not in kinds[kind])
        raise UserError(
            f"{sample.path} writes {told[kind]!r}, {path} writes {kinds[kind][0]!r}, and how to write the other classes"
            " is unknown: write them alike, or --data.label_spelling keep to submit the training rows' labels"
        )
    spelling = dict[str, str]()
    for kind, spellings in kinds.items():
        best = told.get(kind) or style(_best_spelling(spellings, counts, list(told.values())))
        spelling |= {label: best for label in spellings if label != best}
    notes += _told(kinds, told, counts, spelling, path, sample)
    return spelling


def spelling_key(label: str) -> str:
    """Return what labels have in common that differ by how they are written alone."""
    key = unicodedata.normalize("NFKC", label).casefold()
    key = "".join(character for character in key if unicodedata.category(character) != "Cf")  # such as soft hyphens
    key = _QUOTES.sub("", " ".join(key.split()))
    key = re.sub(r"(?<=[^\W\d_])[-_ \u2010-\u2015]+(?=\w)", " ", key.replace("\u2019", "'"))
    return f"{Decimal(key).normalize():f}" if _NUMBER.fullmatch(key) else key


def respelled(labels: pd.Series, spelling: Mapping[str, str]) -> pd.Series:
    """Return the labels as `spelling` writes them."""
    return labels.map(lambda label: spelling.get(label, label)).astype(labels.dtype) if spelling else labels


def _by_kind(labels: Iterable[str], settings: DataSettings) -> dict[str, list[str]]:
    """Return the labels in groups of those that differ by how they are written alone."""
    kinds: dict[str, list[str]] = {}
    for label in labels:
        kind = spelling_key(label)
        if len(kind) == 1 and kind.isalpha() and settings.label_spelling != "merge":
            kind = unicodedata.normalize("NFC", label.strip())  # handwritten A and a are two classes
        kinds.setdefault(kind, []).append(label)
    return kinds


def _style(kinds: Mapping[str, Sequence[str]], told: Mapping[str, str], sample: Sample) -> Callable[[str], str] | None:
    """Return how to write labels of which the sample does not tell; None where that is unknown."""
    foreign = {told[kind]: kinds[kind] for kind in told if told[kind] not in kinds[kind]}
    if len(told) == len(kinds) or not foreign:
        padded = all(label != label.strip() for spellings in kinds.values() for label in spellings)
        return str.strip if padded and all(label == label.strip() for label in sample.told) else str
    for style in _STYLES:
        if all(style(label) == wanted for wanted, spellings in foreign.items() for label in spellings):
            return style
    return None


def _best_spelling(spellings: Sequence[str], counts: Mapping[str, int], told: Sequence[str]) -> str:
    """Return the spelling without outer blanks and without a fraction of 0, in the case of the labels that the sample
    tells, that most rows have; of equals the lower."""
    cases = [case for case in (str.islower, str.isupper, str.istitle) if told and all(map(case, told))]

    def merits(label: str) -> tuple[object, ...]:
        plain = label == label.strip() and not re.search(r"\.0*$", label)
        return plain, all(case(label) for case in cases), counts[label], label.islower(), label

    return max(spellings, key=merits)


def _told(
    kinds: Mapping[str, Sequence[str]], told: Mapping[str, str], counts: Mapping[str, int],
    spelling: Mapping[str, str], path: Path, sample: Sample,
) -> list[str]:  # fmt: skip
    """Return a line for each kind of labels that were changed, or look odd and were not."""
    several = [label for spellings in kinds.values() if len(spellings) > 1 for label in spellings if label in spelling]
    single = [spellings[0] for spellings in kinds.values() if len(spellings) == 1 and spellings[0] in spelling]
    cases = [kind for kind in kinds if len(kind) == 1 and kind.swapcase() != kind and kind.swapcase() in kinds]
    odd = [
        label
        for kind, (label, *_) in kinds.items()
        if kind not in told and label not in spelling and re.search(r"^\s|\s$|^-?\d+\.0*$", label)
    ]
    lines = []
    if several:
        rows, keep = sum(counts[label] for label in several), "--data.label_spelling keep keeps such classes apart"
        lines.append(
            f"{rows:,} rows of {path.name} write their class otherwise than others do, first {several[0]!r} for"
            f" {spelling[several[0]]!r}: they are one class; {keep}"
        )
    if single:
        lines.append(
            f"{len(single):,} classes are written as in {sample.path.name} and not as in {path.name}, first"
            f" {spelling[single[0]]!r} for {single[0]!r}"
        )
    if cases:
        lines.append(
            f"{len(cases):,} classes are letters that differ in case alone, first {min(cases)!r}: each stays a class of"
            " its own; --data.label_spelling merge joins them"
        )
    if odd:
        lines.append(
            f"{len(odd):,} classes are submitted as {path.name} writes them, with a blank or a fraction, first"
            f" {odd[0]!r}: {sample.path.name} does not tell"
        )
    return lines
