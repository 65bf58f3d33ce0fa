"""The submission: the sample's form to the letter, checked line by line."""

from pathlib import Path

import numpy as np
import pytest

from supcon.competition.form import label_rows, probability_rows, submission_rows
from supcon.competition.read import Competition
from supcon.competition.submission import read_solution, verify_submission, write_submission
from supcon.errors import UserError
from tests.competition.conftest import Read, write_images

IDS = ["b2", "b0", "b1"]


@pytest.fixture
def labelled(folder: Path, read: Read) -> Competition:
    """A host who asks for labels."""
    write_images(folder, [f"train/{name}/1.png" for name in ("NA", "red")] + [f"test/b{n}.png" for n in range(3)])
    (folder / "sample_submission.csv").write_text("id,label\r\n" + "".join(f"{name},red\r\n" for name in IDS))
    return read()


@pytest.fixture
def shares(folder: Path, read: Read) -> Competition:
    """A host who asks for a probability of each class."""
    write_images(folder, [f"train/{name}/1.png" for name in ("NA", "red")] + [f"test/b{n}.png" for n in range(3)])
    (folder / "sample_submission.csv").write_text("id;red;NA\n" + "".join(f"{name};0;1\n" for name in IDS))
    return read()


def test_labels_are_written_in_the_samples_rows_order_and_line_ends(labelled: Competition, tmp_path: Path) -> None:
    write_submission(tmp_path / "out.csv", labelled, label_rows(labelled.sample, {"b0": "NA", "b1": "red", "b2": "NA"}))
    assert (tmp_path / "out.csv").read_bytes() == b"id,label\r\nb2,NA\r\nb0,NA\r\nb1,red\r\n"
    with pytest.raises(UserError, match="1 test rows have no prediction, first 'b1'"):
        label_rows(labelled.sample, {"b0": "NA", "b2": "NA"})


def test_probabilities_are_written_in_the_samples_columns_and_sum_to_one(shares: Competition, tmp_path: Path) -> None:
    logits = np.random.default_rng(0).normal(size=(3, 2)) * 9
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    write_submission(
        tmp_path / "out.csv", shares, probability_rows(shares.sample, ["b0", "b1", "b2"], probabilities, ["NA", "red"])
    )
    lines = [line.split(";") for line in (tmp_path / "out.csv").read_text().splitlines()]
    assert lines[0] == ["id", "red", "NA"]
    assert [line[0] for line in lines[1:]] == IDS
    assert float(lines[1][1]) == pytest.approx(probabilities[2, 1], rel=1e-9)
    assert all(abs(float(line[1]) + float(line[2]) - 1) < 1e-9 for line in lines[1:])


@pytest.mark.parametrize(
    ("sample", "written"),
    [
        (",id,label\n7,b2,red\n3,b0,red\n5,b1,red\n", ",id,label\n7,b2,NA\n3,b0,red\n5,b1,NA\n"),
        ("label,id\nred,b2\nred,b0\nred,b1\n", "label,id\nNA,b2\nred,b0\nNA,b1\n"),
        ("id, label\nb2, red\nb0, red\nb1, red\n", "id, label\nb2, NA\nb0, red\nb1, NA\n"),
        ("sep=;\r\nid;label\r\nb2;red\r\nb0;\r\nb1;x\r\n", "sep=;\r\nid;label\r\nb2;NA\r\nb0;red\r\nb1;NA\r\n"),
        (
            "Unnamed: 0,NA,red,id\n0,0.5,0.5,b2\n1,0.5,0.5,b0\n2,0.5,0.5,b1\n",
            "Unnamed: 0,NA,red,id\n0,1,0,b2\n1,0,1,b0\n2,1,0,b1\n",
        ),
    ],
)
def test_a_submission_has_the_samples_columns_wherever_the_ids_are(
    labelled: Competition, read: Read, tmp_path: Path, sample: str, written: str
) -> None:
    (labelled.folder / "sample_submission.csv").write_bytes(sample.encode())
    competition = read()
    classes = np.array([1, 0, 0])
    predicted = np.log(np.eye(2)[classes] + 1e-30) if competition.sample.one_hot else classes
    rows = submission_rows(competition.sample, competition.form, ["b0", "b1", "b2"], ["NA", "red"], predicted)
    write_submission(tmp_path / "out.csv", competition, rows)
    assert (tmp_path / "out.csv").read_bytes().decode().replace("1e-30", "0") == written


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("id,label", "id,kind", r"line 1: the columns are \['id', 'kind'\]"),
        ("b0", "b9", "line 3: the id is 'b9', the sample has 'b0'"),
        ("b1,red", "b1,nonsense", "line 4: 'nonsense' is no class"),
        ("b1,red\n", "", "has 2 rows, the sample has 3: line 4"),
        ("b1,red\n", "b1,red\nb1,red\n", "has 4 rows, the sample has 3: line 5"),
        ("b0,red", "b0,", "line 3: '' is no class"),
        ("b0,red", "b0,red,1", "line 3 has 3 cells"),
    ],
)
def test_a_submission_is_verified_line_by_line(
    labelled: Competition, tmp_path: Path, old: str, new: str, message: str
) -> None:
    text = "id,label\n" + "".join(f"{name},red\n" for name in IDS)
    (tmp_path / "out.csv").write_text(text)
    verify_submission(tmp_path / "out.csv", labelled)
    (tmp_path / "out.csv").write_text(text.replace(old, new, 1))
    with pytest.raises(UserError, match=message):
        verify_submission(tmp_path / "out.csv", labelled)


@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("0.5;0.5", ""),
        ("0.5;", "line 3: '' in column 'NA' is no probability"),
        ("nan;1", "line 3: 'nan' in column 'red' is no probability"),
        ("inf;0", "line 3: 'inf' in column 'red' is no probability"),
        ("1.5;-0.5", "line 3: '1.5' in column 'red' is no probability"),
        ("0.5;0.4", "line 3: the probabilities sum to 0.9, not to 1"),
    ],
)
def test_probabilities_are_verified_too(shares: Competition, tmp_path: Path, cells: str, message: str) -> None:
    (tmp_path / "out.csv").write_text(f"id;red;NA\nb2;1;0\nb0;{cells}\nb1;1;0\n")
    if not message:
        verify_submission(tmp_path / "out.csv", shares)
        return
    with pytest.raises(UserError, match=message):
        verify_submission(tmp_path / "out.csv", shares)


def test_a_submission_in_another_dialect_is_named(shares: Competition, tmp_path: Path) -> None:
    (tmp_path / "out.csv").write_text("id,red,NA\nb2,1,0\nb0,1,0\nb1,1,0\n")
    with pytest.raises(
        UserError, match="line 1: written as utf-8 with ',' between cells, the sample as utf-8 with ';'"
    ):
        verify_submission(tmp_path / "out.csv", shares)


def test_the_solution_is_read_by_id(labelled: Competition, folder: Path) -> None:
    assert read_solution(folder, labelled) is None
    path = folder / "solution.csv"
    path.write_text("id,label,Usage\nb0,red,Private\nb1,NA,Public\nb2,red,Private\n")
    solution = read_solution(folder, labelled)
    assert solution is not None
    assert solution.to_dict() == {"b2": "red", "b0": "red", "b1": "NA"}
    assert list(solution.index) == IDS
    path.write_text("id,label\nb0,red\nb1,blue\nb2,red\n")
    with pytest.raises(UserError, match="the label 'blue' of 'b1' is no class"):
        read_solution(folder, labelled)
    path.write_text("id,label\nb0,red\n")
    with pytest.raises(UserError, match="another competition"):
        read_solution(folder, labelled)


def test_a_solution_of_probabilities_is_read_as_labels(shares: Competition, folder: Path) -> None:
    for text in ("id,red,NA\nb0,1,0\nb1,0,1\nb2,1,0\n", "id,label\nb0,red\nb1,NA\nb2,red\n"):
        (folder / "solution.csv").write_text(text)
        solution = read_solution(folder, shares)
        assert solution is not None
        assert solution.to_dict() == {"b2": "red", "b0": "red", "b1": "NA"}
