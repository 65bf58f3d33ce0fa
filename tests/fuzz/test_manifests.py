"""Whatever CSV files lie beside the images: they are read cell by cell as they stand, or one line says why not."""

import os
import tempfile
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from supcon.competition.folds import make_folds, read_folds, write_folds
from supcon.competition.form import submission_rows
from supcon.competition.read import Competition, read_competition
from supcon.competition.submission import verify_submission, write_submission
from supcon.errors import UserError
from supcon.settings.settings import DataSettings
from supcon.storage.tables import Dialect, read_table, read_with_dialect, write_table
from tests.fuzz.budget import assert_one_line, budget
from tests.fuzz.manifests import CELLS, Host, Table, cells_by_csv, hosts, tables
from tests.fuzz.mutate import mutated


def snapshot(root: Path) -> dict[str, bytes]:
    """All files outside cache/ and submissions/."""
    return {
        str(path.relative_to(root)): path.read_bytes()
        for path in root.rglob("*")
        if path.is_file() and path.relative_to(root).parts[0] not in ("cache", "out")
    }


def columns_of(competition: Competition, name: str) -> dict[str, list[str]]:
    """A table's columns by the oracle."""
    path = competition.folder / name
    dialect = read_with_dialect(path)[1]
    header, *rows = cells_by_csv(path.read_bytes(), dialect)
    return dict(zip(header, (list(column) for column in zip(*rows, strict=True)), strict=True))


def labels_of(competition: Competition, train: dict[str, list[str]], settings: DataSettings) -> list[str]:
    sample = competition.sample
    if settings.label_column:
        return train[settings.label_column]
    if not sample.one_hot and sample.targets[0] in train:
        return train[sample.targets[0]]
    if set(sample.targets) <= set(train):
        rows = zip(*(train[name] for name in sample.targets), strict=True)
        return [sample.targets[[float(cell) for cell in row].index(1.0)] for row in rows]
    for labels in train.values():  # in a column of another name
        if [competition.spelling.get(name, name) for name in labels] == competition.train["label"].tolist():
            return labels
    raise AssertionError(f"no column of {train} holds the labels")


@budget(600)
@given(hosts(), st.randoms(use_true_random=False))
def test_any_manifest_is_read_exactly_or_refused_in_one_line(host: Host, random: Random) -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        host.write(root / "input")
        before = snapshot(root)
        settings = DataSettings(folds=2, rare_classes="train_only", **host.settings)  # type: ignore[arg-type]
        try:
            competition = read_competition(root / "input", root / "cache", settings)
            train = columns_of(competition, "train.csv")
            assert competition.train["id"].tolist() in train.values()
            labels = labels_of(competition, train, settings)
            assert competition.train["label"].tolist() == [competition.spelling.get(name, name) for name in labels]
            sample = columns_of(competition, "sample_submission.csv")
            assert competition.sample.ids.tolist() == sample[competition.sample.id_column]
            assert all((root / "input").resolve() in file.resolve().parents for file in competition.files)
            if not competition.hides_test:
                assert competition.test["id"].tolist() == sample[competition.sample.id_column]
                assert_submission_holds(competition, root / "out" / "s.csv", [random.random() for _ in range(3)])
            assert_folds_return(competition, root / "out" / "folds.csv", settings)
        except UserError as error:
            assert_one_line(error)
        assert snapshot(root) == before


def assert_submission_holds(competition: Competition, path: Path, draws: list[float]) -> None:
    """A submission is verified, and csv finds in it what was put in."""
    sample, form, classes, ids = competition.sample, competition.form, competition.classes, competition.test["id"]
    numbers = np.array([int(draws[n % len(draws)] * len(classes)) for n in range(len(ids))], dtype=np.int64)
    shares = np.log(np.eye(len(classes))[numbers].clip(1e-300))
    rows = submission_rows(sample, form, ids.tolist(), classes, numbers if form.takes_labels else shares)
    try:
        write_submission(path, competition, rows)
        verify_submission(path, competition)
    except UserError as error:
        raise AssertionError(f"our own submission is refused: {error}") from error
    header, *cells = cells_by_csv(path.read_bytes(), sample.dialect)
    assert header == sample.columns
    assert [row[header.index(sample.id_column)] for row in cells] == ids.tolist()
    told = [[row[header.index(name)] for name in sample.targets] for row in cells]
    labels = [classes[number] for number in numbers]
    if sample.one_hot:
        assert [sample.targets[row.index("1")] for row in told] == labels
    elif form.positive:
        assert [row[0] == "1" for row in told] == [label == form.positive for label in labels]
    else:
        assert [row[0].split(form.separator)[0] if form.labels > 1 else row[0] for row in told] == labels


def assert_folds_return(competition: Competition, path: Path, settings: DataSettings) -> None:
    """The split is read back as it was made."""
    none = np.zeros(0, np.int64)
    made = make_folds(competition.train, none, none, settings)
    write_folds(path, made)
    try:
        again = read_folds(path, competition.train, settings)
    except UserError as error:
        raise AssertionError(f"our own folds.csv is refused: {error}") from error
    assert again["id"].tolist() == competition.train["id"].tolist()
    assert again["label"].tolist() == competition.train["label"].tolist()
    assert again["fold"].tolist() == made["fold"].tolist()


@budget(250)
@given(tables())
def test_a_table_of_any_cells_and_dialect_is_read_and_written_exactly(table: Table) -> None:
    there = [row for row in table.rows if any(row) or len(row) == 1]
    assume(there)
    with tempfile.TemporaryDirectory() as name:
        path, copy = Path(name) / "t.csv", Path(name) / "copy.csv"
        path.write_bytes(table.rendered())
        dialect = read_with_dialect(path)[1]
        expected = cells_by_csv(path.read_bytes(), dialect)
        read = read_table(path)
        assert [list(read.columns), *read.to_numpy().tolist()] == expected
        assert dialect.padding or expected == [table.header, *there]
        assert replace(dialect, padding="") == Dialect(table.encoding, table.delimiter, table.line_end)
        write_table(copy, read, read_with_dialect(path)[1])
        assert read_with_dialect(copy)[1] == read_with_dialect(path)[1]
        assert cells_by_csv(copy.read_bytes(), dialect) == expected
        assert read_table(copy).equals(read)


@budget(400)
@given(st.data())
def test_any_bytes_are_a_table_as_csv_reads_it_or_refused_in_one_line(data: st.DataObject) -> None:
    whole = data.draw(tables()).rendered()
    content = data.draw(mutated(whole) | st.binary(max_size=200))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "t.csv"
        path.write_bytes(content)
        try:
            read = read_table(path)
        except UserError as error:
            assert_one_line(error)
            return
        dialect = read_with_dialect(path)[1]
        expected = cells_by_csv(content, dialect)
        assert [list(read.columns), *read.to_numpy().tolist()] == expected


TRAIN = pd.DataFrame(
    {"id": [f"a{n}" for n in range(8)], "label": ["x", "NA"] * 4, "group": ["g", "g", *[""] * 6]}, dtype=str
)
FOLDS = ["0", "1", "-1", "", "2", "-2", "٣", "²", "9" * 25, "9" * 5000, "0.0", "1e0", " 1", "+1", "00", "nan"]


@budget(250)
@given(st.data())
def test_any_folds_csv_is_honoured_or_refused_in_one_line(data: st.DataObject) -> None:
    header = data.draw(st.permutations(["id", "fold"])) + data.draw(st.sampled_from([[], ["label"], ["group"], ["x"]]))
    numbers = ["0", "1", "1", "0"] * 2
    for row in data.draw(st.lists(st.integers(0, 7), max_size=3)):
        numbers[row] = data.draw(st.sampled_from(FOLDS) | CELLS)
    further = data.draw(st.sampled_from([TRAIN["label"].tolist(), [""] * 8, ["a", "b"] * 4]))
    columns = {"id": TRAIN["id"].tolist(), "fold": numbers, header[-1] if len(header) > 2 else "-": further}
    table = Table(header, [[columns[name][n] for name in header] for n in range(8)])
    content = data.draw(st.just(table.rendered()) | mutated(table.rendered()))
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "folds.csv"
        path.write_bytes(content)
        try:
            read = read_folds(path, TRAIN, DataSettings(folds=2))
        except UserError as error:
            assert_one_line(error)
            return
        assert read["id"].tolist() == TRAIN["id"].tolist()
        assert read["label"].tolist() == TRAIN["label"].tolist()
        assert set(read["fold"]) - {-1, -2} == {0, 1}
        assert path.read_bytes() == content


@pytest.mark.parametrize("byte", [b"\xff", b"\xe9"])
def test_names_that_are_no_text_are_refused_in_one_line_or_read(tmp_path: Path, byte: bytes) -> None:
    """File systems hold names in any bytes."""

    folder = os.fsencode(tmp_path / "input")
    for part in (b"train/" + byte, b"train/b", b"test"):
        os.makedirs(folder + b"/" + part)
    for name in (b"train/" + byte + b"/1.png", b"train/b/2.png", b"test/" + byte + b".png", b"z" + byte + b".zip"):
        with open(folder + b"/" + name, "wb") as file:
            file.write(b"x")
    (tmp_path / "input" / "sample_submission.csv").write_text("id,label\n1,b\n")
    with pytest.raises(UserError) as raised:
        read_competition(tmp_path / "input", tmp_path / "cache", DataSettings())
    assert_one_line(raised.value)
