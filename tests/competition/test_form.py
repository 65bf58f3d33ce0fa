"""Whatever form the host asks for is written to the letter, and any file is verified against it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from supcon.competition.form import submission_rows
from supcon.competition.read import Competition
from supcon.competition.submission import verify_submission, write_submission
from supcon.errors import UserError
from supcon.metrics.top_k import keep_likeliest, map_values
from tests.competition.conftest import Read, write_images

IDS = ["b2", "b0", "b1"]  # the sample's order


def competition(folder: Path, read: Read, classes: Sequence[str], sample: str, **settings: str) -> Competition:
    """A competition of two images a class, whose sample is `sample` with ROWS of that cell."""
    write_images(folder, [f"train/{name}/{n}.png" for name in classes for n in range(2)])
    write_images(folder, [f"test/b{n}.png" for n in range(3)])
    header, cell = sample.split("\n")
    (folder / "sample_submission.csv").write_text(f"{header}\n" + "".join(f"{name},{cell}\n" for name in IDS))
    return read(**settings)


def written(asked: Competition, path: Path, predicted: object) -> list[list[str]]:
    """Write predictions of the rows b0, b1, b2; return the lines of cells."""
    rows = submission_rows(asked.sample, asked.form, ["b0", "b1", "b2"], asked.classes, predicted)
    write_submission(path, asked, rows)
    return [line.split(",") for line in path.read_text().splitlines()]


def test_the_one_column_holds_the_probability_of_the_positive_class(folder: Path, read: Read, tmp_path: Path) -> None:
    asked = competition(folder, read, ["no", "yes"], "id,label\n0.5")
    shares = np.array([[0.9, 0.1], [0.25, 0.75], [1.0, 0.0]])
    with np.errstate(divide="ignore"):
        lines = written(asked, tmp_path / "out.csv", np.log(shares))
    assert lines == [["id", "label"], ["b2", "0"], ["b0", "0.1"], ["b1", "0.75"]]


def test_of_several_classes_the_named_one_counts(folder: Path, read: Read, tmp_path: Path) -> None:
    asked = competition(folder, read, ["benign", "melanoma", "nevus"], "id,target\n0", positive_class="melanoma")
    lines = written(asked, tmp_path / "out.csv", np.log([[0.2, 0.5, 0.3], [0.5, 0.25, 0.25], [0.125, 0.75, 0.125]]))
    assert lines[1:] == [["b2", "0.75"], ["b0", "0.5"], ["b1", "0.25"]]


@pytest.mark.parametrize("separator", [" ", "|"])
def test_a_cell_of_several_labels_gets_the_likeliest_in_order(
    folder: Path, read: Read, tmp_path: Path, separator: str
) -> None:
    asked = competition(folder, read, ["ant", "bee", "cat"], f"id,label\ncat{separator}ant")
    lines = written(asked, tmp_path / "out.csv", np.log([[0.2, 0.5, 0.3], [0.5, 0.2, 0.3], [0.3, 0.1, 0.6]]))
    cells = [name.split() for name in ("cat ant", "bee cat", "ant cat")]
    assert lines[1:] == [[name, separator.join(own)] for name, own in zip(IDS, cells, strict=True)]


def test_of_very_many_classes_the_likeliest_are_those_that_were_kept(folder: Path, read: Read, tmp_path: Path) -> None:
    names = [f"c{number:04d}" for number in range(1001)]
    asked = competition(folder, read, names, "id,label\nc0003 c0001 c0002")
    logits = np.random.default_rng(0).normal(size=(3, 1, 1001)).astype(np.float32)
    merged = map_values(keep_likeliest(logits), lambda values, _: values[:, 0])
    lines = written(asked, tmp_path / "out.csv", merged)
    best = np.argsort(-logits[:, 0], axis=1)[:, :3]
    assert {line[0]: line[1].split() for line in lines[1:]} == {
        f"b{row}": [names[number] for number in best[row]] for row in range(3)
    }


def test_a_column_without_training_rows_holds_0(folder: Path, read: Read, tmp_path: Path) -> None:
    asked = competition(folder, read, ["ant", "bee"], "id,dog,bee,ant\n0.3,0.3,0.4")
    lines = written(asked, tmp_path / "out.csv", np.log([[0.25, 0.75], [0.5, 0.5], [1, 1e-30]]))
    assert lines == [["id", "dog", "bee", "ant"], ["b2", "0", "1e-30", "1"], ["b0", "0", "0.75", "0.25"],
                     ["b1", "0", "0.5", "0.5"]]  # fmt: skip


@pytest.mark.parametrize("cell", ["1.5", "-0.1", "nan", "yes", ""])
def test_a_cell_that_is_no_probability_is_named(folder: Path, read: Read, tmp_path: Path, cell: str) -> None:
    asked = competition(folder, read, ["no", "yes"], "id,label\n0.5")
    (tmp_path / "out.csv").write_text("id,label\nb2,0\nb0,0.25\nb1,1\n")
    verify_submission(tmp_path / "out.csv", asked)
    (tmp_path / "out.csv").write_text(f"id,label\nb2,0\nb0,{cell}\nb1,1\n")
    with pytest.raises(UserError, match=f"line 3: '{cell}' in column 'label' is no probability"):
        verify_submission(tmp_path / "out.csv", asked)


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("ant", ""),
        ("bee cat", ""),
        ("ant cow", "line 3: 'cow' is no class of the training rows"),
        ("ant ant", "line 3: 'ant ant' is not up to 2 different labels with ' ' between them"),
        ("ant bee cat", "line 3: 'ant bee cat' is not up to 2"),
        ("ant,bee", "line 3 has 3 cells"),
        ("", "line 3: '' is no class"),
    ],
)
def test_several_labels_are_verified_one_by_one(
    folder: Path, read: Read, tmp_path: Path, cell: str, message: str
) -> None:
    asked = competition(folder, read, ["ant", "bee", "cat"], "id,label\nant bee")
    (tmp_path / "out.csv").write_text(f"id,label\nb2,cat ant\nb0,{cell}\nb1,ant bee\n")
    if not message:
        verify_submission(tmp_path / "out.csv", asked)
        return
    with pytest.raises(UserError, match=message):
        verify_submission(tmp_path / "out.csv", asked)


def test_settings_that_do_not_fit_a_column_for_each_class_are_refused(folder: Path, read: Read) -> None:
    competition(folder, read, ["ant", "bee"], "id,bee,ant\n0.5,0.5")
    for settings in ({"positive_class": "ant"}, {"submit": "label"}):
        with pytest.raises(UserError, match=r"has several columns, which --data\..* does not fit"):
            read(**settings)


def test_a_hidden_test_set_has_no_rows_and_still_checks_files(folder: Path, read: Read, tmp_path: Path) -> None:
    asked = competition(folder, read, ["ant", "bee"], "id,label\nant")
    assert not asked.hides_test
    for path in (folder / "test").glob("*.png"):
        path.unlink()
    hidden = read()
    assert hidden.hides_test
    assert hidden.paths == list(hidden.train["path"])
    pd.DataFrame({"id": IDS, "label": "bee"}).to_csv(tmp_path / "out.csv", index=False)
    verify_submission(tmp_path / "out.csv", hidden)
