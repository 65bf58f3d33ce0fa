"""The host's layouts; every label comes out as it went in."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from supcon.competition.builtin import class_sizes, write_builtin
from supcon.competition.read import read_competition
from supcon.competition.submission import read_solution, verify_submission, write_submission
from supcon.config.builtin_mark import holds_builtin
from supcon.config.settings import DataSettings
from supcon.errors import UserError

ODD = ["00014", "NA", "None", "1.0", "yes", "crème brûlée", "🦊", 'a "quoted", one', "null"]


def image(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.zeros((4, 4, 3), np.uint8))


def folder_layout(folder: Path) -> Path:
    for number, name in enumerate(["Fat Hen", "Sugar beet"]):
        for row in range(3):
            image(folder / "train" / name / f"{number}{row}.jpg")
    for row in range(2):
        image(folder / "test" / f"t{row}.jpg")
    (folder / "sample_submission.csv").write_text("file,species\nt1.jpg,Fat Hen\nt0.jpg,Fat Hen\n")
    return folder


def test_one_folder_a_class_is_understood(tmp_path: Path) -> None:
    competition = read_competition(folder_layout(tmp_path), DataSettings())
    assert competition.classes == ["Fat Hen", "Sugar beet"]
    assert competition.train["id"].tolist()[0] == "Fat Hen/00.jpg"
    assert competition.test["path"].tolist() == ["test/t1.jpg", "test/t0.jpg"]  # the sample's order
    assert (competition.id_column, competition.target_column) == ("file", "species")


def test_an_image_of_the_other_part_is_never_taken(tmp_path: Path) -> None:
    for name in ("train/7.png", "test/7.png", "train/8.png"):
        image(tmp_path / name)
    (tmp_path / "train.csv").write_text("id,label\n7,a\n8,b\n")
    (tmp_path / "sample_submission.csv").write_text("id,label\n7,a\n")
    competition = read_competition(tmp_path, DataSettings())
    assert competition.train["path"].tolist() == ["train/7.png", "train/8.png"]
    assert competition.test["path"].tolist() == ["test/7.png"]
    (tmp_path / "train" / "7.png").unlink()
    with pytest.raises(UserError, match=r"train\.csv: the id '7' has no image"):
        read_competition(tmp_path, DataSettings())


def test_labels_that_look_like_something_else_stay_strings(tmp_path: Path) -> None:
    import pandas as pd

    for row in range(len(ODD)):
        image(tmp_path / "images" / f"{row:03d}.png")
    image(tmp_path / "test" / "000.png")
    ids = [f"{row:03d}" for row in range(len(ODD))]
    pd.DataFrame({"id": ids, "label": ODD}).to_csv(tmp_path / "train.csv", index=False)
    pd.DataFrame({"id": ["000"], "label": ["NA"]}).to_csv(
        tmp_path / "sample_submission.csv", index=False, lineterminator="\r\n"
    )
    competition = read_competition(tmp_path, DataSettings())
    assert competition.train["label"].tolist() == ODD
    assert competition.train["path"][0] == "images/000.png"
    assert competition.test["path"][0] == "test/000.png"
    for label in ODD:
        path = tmp_path / "out.csv"
        write_submission(path, competition, {"000": label})
        assert pd.read_csv(path, dtype=str, keep_default_na=False)["label"].tolist() == [label]
        assert path.read_bytes().count(b"\r\n") == 2  # the sample's line ends


def test_group_and_label_columns_are_chosen_by_name(root: Path) -> None:
    train = root / "input" / "train.csv"
    lines = train.read_text().splitlines()
    text = "\n".join(["id,kind,patient"] + [f"{line},p{number // 2}" for number, line in enumerate(lines[1:])])
    train.write_text(text + "\n")
    settings = DataSettings(label_column="kind", group_column="patient")
    assert read_competition(root / "input", settings).train["group"].nunique() == 30
    with pytest.raises(UserError, match=r"'doctor', only \['id', 'kind', 'patient'\].*--data\.group_column"):
        read_competition(root / "input", DataSettings(label_column="kind", group_column="doctor"))


def test_a_submission_is_verified_line_by_line(root: Path) -> None:
    competition = read_competition(root / "input", DataSettings())
    path = root / "out.csv"
    labels = dict.fromkeys(competition.test["id"], "NA")
    write_submission(path, competition, labels)
    good = path.read_text()
    cases = {
        "line 1": good.replace("id,label", "id,kind"),
        "line 3: the id is 'b999'": good.replace("b001", "b999"),
        "line 4: 'nonsense' is no class": good.replace("b002,NA", "b002,nonsense"),
        "has 11 rows": good.replace("b004,NA\n", ""),
    }
    for said, text in cases.items():
        path.write_text(text)
        with pytest.raises(UserError, match=said):
            verify_submission(path, competition)
    with pytest.raises(UserError, match="1 test rows have no prediction, first 'b003'"):
        write_submission(path, competition, {name: "NA" for name in labels if name != "b003"})


def test_the_solution_is_read_by_id(root: Path) -> None:
    competition = read_competition(root / "input", DataSettings())
    solution = read_solution(root / "input", competition)
    assert solution is not None
    assert list(solution.index) == list(competition.test["id"])
    path = root / "input" / "solution.csv"
    path.write_text(path.read_text().replace("b001,NA", "b001,blue"))
    with pytest.raises(UserError, match="the label 'blue' of 'b001' is no class"):
        read_solution(root / "input", competition)
    path.write_text("id,label\nb000,red\n")
    with pytest.raises(UserError, match="another competition"):
        read_solution(root / "input", competition)


def test_the_built_in_competition_is_long_tailed_and_split_by_thirds(tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    (folder / ".gitkeep").touch()
    write_builtin(folder)
    competition = read_competition(folder, DataSettings())
    sizes = class_sizes()
    assert (sizes[0], sizes[9]) == (450, 90)
    assert competition.train["label"].value_counts().sort_index().tolist() == [round(n * 2 / 3) for n in sizes]
    assert len(competition.train) + len(competition.test) == sizes.sum()
    solution = read_solution(folder, competition)
    assert solution is not None
    assert solution.nunique() == 10
    assert (folder / ".gitkeep").exists()
    assert not list(tmp_path.glob(".input*"))
    assert holds_builtin(folder)
    (folder / "train.csv").write_text("id,label\n")  # the user's own files, beside a mark that outlived the old ones
    assert not holds_builtin(folder)


def test_a_link_to_an_empty_folder_is_not_filled(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "input").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match="is a link or a mount and empty"):
        write_builtin(tmp_path / "input")
    assert not list((tmp_path / "elsewhere").iterdir())
