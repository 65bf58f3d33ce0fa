"""The host's layouts are understood without being told; what is ambiguous is asked for by name."""

import zipfile
from pathlib import Path

import pandas as pd
import pytest

from supcon.errors import UserError
from tests.competition.conftest import Read, write_images


def write(folder: Path, **tables: str) -> None:
    for name, text in tables.items():
        (folder / f"{name}.csv").write_text(text)


def test_one_folder_a_class_is_understood(folder: Path, read: Read) -> None:
    write_images(folder, [f"train/{name}/{row}.jpg" for name in ("Fat Hen", "test tube") for row in range(3)])
    write_images(folder, ["test/t0.jpg", "test/t1.jpg"])
    write(folder, sample_submission="file,species\nt1.jpg,Fat Hen\nt0.jpg,Fat Hen\n")
    competition = read()
    assert competition.classes == ["Fat Hen", "test tube"]
    assert competition.train["id"].tolist()[0] == "Fat Hen/0.jpg"
    assert competition.test["path"].tolist() == ["test/t1.jpg", "test/t0.jpg"]  # the sample's order
    assert (competition.sample.id_column, competition.sample.targets) == ("file", ["species"])


def test_class_folders_may_lie_at_the_top_or_in_a_wrapper(folder: Path, read: Read) -> None:
    write_images(folder, ["pack/cat/1.png", "pack/dog/1.png", "test/9.png"])
    write(folder, sample_submission="id,label\n9,cat\n")
    assert read().train["label"].tolist() == ["cat", "dog"]


def test_an_image_of_the_other_part_is_never_taken(folder: Path, read: Read) -> None:
    write_images(folder, ["train/7.png", "test/7.png", "train/8.png"])
    write(folder, train="id,label\n7,a\n8,b\n", sample_submission="id,label\n7,a\n")
    assert read().train["path"].tolist() == ["train/7.png", "train/8.png"]
    assert read().test["path"].tolist() == ["test/7.png"]
    (folder / "train" / "7.png").unlink()
    with pytest.raises(UserError, match=r"train\.csv: 1 of 2 rows have no image, first the id '7' \(test/7"):
        read()


@pytest.mark.parametrize("name", ["b1", "b1.png", "deep/b1.png", "test/deep/b1", "elsewhere/test/deep/b1.png"])
def test_ids_may_have_suffixes_and_folders_or_not(folder: Path, read: Read, name: str) -> None:
    write_images(folder, ["train/x/a1.png", "train/y/a2.png", "test/deep/b1.png"])
    write(folder, train="id,label\na1,x\na2,y\n", sample_submission=f"id,label\n{name},x\n")
    assert read().test["path"].tolist() == ["test/deep/b1.png"]


def test_a_column_of_image_names_beside_the_ids_is_found(folder: Path, read: Read) -> None:
    write_images(folder, ["images/one.png", "images/two.png", "images/three.png"])
    write(
        folder,
        train="id,width,picture,label\n1,4,one.png,x\n2,4,two.png,y\n",
        test="id,picture\n3,three.png\n",
        sample_submission="id,label\n3,x\n",
    )
    assert read().train["path"].tolist() == ["images/one.png", "images/two.png"]
    assert read().test["path"].tolist() == ["images/three.png"]
    write(folder, train="id,picture,also,label\n1,one,one,x\n2,two,two,y\n")
    with pytest.raises(UserError, match=r"\['picture', 'also'\] all name images: choose one with --data\.image_column"):
        read()
    assert len(read(image_column="picture").train) == 2


def test_a_label_column_of_another_name_is_taken_only_when_it_is_the_only_one(folder: Path, read: Read) -> None:
    write_images(folder, ["train/1.png", "train/2.png", "test/3.png"])
    write(folder, train="id,kind\n1,x\n2,y\n", sample_submission="id,label\n3,x\n")
    assert read().train["label"].tolist() == ["x", "y"]
    write(folder, train="id,kind,age\n1,x,4\n2,y,x\n")
    with pytest.raises(UserError, match=r"name one of \['kind', 'age'\] with --data\.label_column"):
        read()
    assert read(label_column="kind").train["label"].tolist() == ["x", "y"]


def test_a_sample_with_a_column_a_class_finds_the_labels(folder: Path, read: Read) -> None:
    write_images(folder, ["train/1.png", "train/2.png", "test/3.png"])
    write(folder, sample_submission="id,y,x\n3,0.5,0.5\n", train="id,when,kind\n1,x,x\n2,z,y\n")
    assert read().train["label"].tolist() == ["x", "y"]
    assert read().sample.one_hot
    write(folder, train="id,x,y\n1,1,0\n2,0.0,1.0\n")
    assert read().train["label"].tolist() == ["x", "y"]
    write(folder, train="id,x,y\n1,1,0\n2,1,1\n")
    with pytest.raises(UserError, match=r"row 3 marks .*one class must be 1"):
        read()
    write(folder, train="id,kind\n1,x\n2,y\n", sample_submission="id,y,x,z\n3,1,0,0\n")
    assert read().train["label"].tolist() == read(label_column="kind").train["label"].tolist() == ["x", "y"]
    (note,) = read().notes
    assert note.startswith("the column 'z' of sample_submission.csv is no class of the training rows: it gets")
    write(folder, train="id,kind,side\n1,x,y\n2,y,up\n")  # which of the two?
    with pytest.raises(UserError, match=r"no single column is seen to hold the classes"):
        read()
    write(folder, train="id,kind\n1,x\n2,y\n", sample_submission="id,y,x,use\n3,1,0,Public\n")
    with pytest.raises(UserError, match=r"holds 'Public' in the column 'use', which is no class of the training rows"):
        read()
    write(folder, train="id,kind\n1,x\n2,y\n3,w\n", sample_submission="id,y,x\n3,1,0\n")
    write_images(folder, ["train/3.png"])
    with pytest.raises(UserError, match="have the class 'w', for which .* has no column"):
        read(label_column="kind")


def test_group_and_id_columns_are_chosen_by_name(folder: Path, read: Read) -> None:
    write_images(folder, ["train/1.png", "train/2.png", "test/3.png"])
    train = "image,file,label,patient\n1,1.png,x,p\n2,2.png,y, p\n"
    write(folder, train=train, sample_submission="id,label\n3,x\n")
    with pytest.raises(UserError, match=r"no column 'id', only \['image', .*--data\.id_column"):
        read()
    assert read(id_column="image", group_column="patient").train["group"].tolist() == ["p", "p"]
    with pytest.raises(UserError, match=r"'doctor', only \['image', 'file', .*'patient'\].*--data\.group_column"):
        read(id_column="image", group_column="doctor")


def test_the_only_column_that_names_images_holds_the_ids_where_none_is_called_so(folder: Path, read: Read) -> None:
    write_images(folder, ["train/1.png", "train/2.png", "test/3.png"])
    write(folder, train="when,image,label\n9,1,x\n8,2,y\n", sample_submission="id,label\n3,x\n")
    write(folder, test="id,width\n3,4\n")
    assert read().train["id"].tolist() == ["1", "2"]
    assert read().notes == ["train.csv: ids are in the column 'image', as none is called 'id'"]
    assert read(id_column="image").notes == []  # it is train.csv's alone where test.csv has the sample's
    write(folder, test="name,width\n3,4\n")  # the column that holds the sample's ids
    assert read(id_column="image").test["path"].tolist() == ["test/3.png"]


def test_labels_that_look_like_something_else_stay_strings(folder: Path, read: Read) -> None:
    odd = ["00014", "NA", "None", "1.0", "yes", "crème brûlée", "🦊", 'a "quoted", one', "null", " spaced "]
    ids = [f"{row:03d}" for row in range(len(odd))]
    write_images(folder, [f"images/{name}.png" for name in ids] + ["test/000.png"])
    pd.DataFrame({"id": ids, "label": odd}).to_csv(folder / "train.csv", index=False)
    write(folder, sample_submission="id,label\n000,NA\n")
    assert read().train["label"].tolist() == odd
    assert read().train["path"][0] == "images/000.png"
    assert read().test["path"][0] == "test/000.png"


def test_test_rows_without_a_test_table_must_cover_the_test_folder(folder: Path, read: Read) -> None:
    write_images(folder, ["train/1.png", "train/2.png", "test/3.png", "test/4.png"])
    write(folder, train="id,label\n1,x\n2,y\n", sample_submission="id,label\n3,x\n")
    with pytest.raises(UserError, match=r"has no row for test/4\.png \(1 such test images\)"):
        read()
    write(folder, test="id\n3\n4\n")
    with pytest.raises(UserError, match=r"test\.csv has the id '4', which sample_submission\.csv lacks"):
        read()
    write(folder, test="id\n3\n3\n")
    with pytest.raises(UserError, match=r"test\.csv: the id '3' stands in two rows"):
        read()


def test_a_linked_folder_is_entered_once(folder: Path, read: Read, tmp_path: Path) -> None:
    write_images(tmp_path / "disk", ["1.png", "2.png"])
    (folder / "train").symlink_to(tmp_path / "disk")
    (tmp_path / "disk" / "loop").symlink_to(tmp_path / "disk")
    write_images(folder, ["test/3.png"])
    write(folder, train="id,label\n1,x\n2,y\n", sample_submission="id,label\n3,x\n")
    assert read().train["path"].tolist() == ["train/1.png", "train/2.png"]


def test_an_error_is_one_line_whatever_it_quotes(folder: Path, read: Read) -> None:
    write_images(folder, ["train/1\n2.png", "train/1\n2.jpg", "train/3.png", "test/3.png"])
    write(folder, train='id,label\n"1\n2",x\n3,y\n', sample_submission="id,label\n3,x\n")
    with pytest.raises(UserError, match="fits train/1 2.jpg and train/1 2.png") as raised:
        read()
    assert "\n" not in str(raised.value)


def test_file_names_that_are_no_text_are_no_matter(folder: Path, read: Read) -> None:
    write_images(folder, ["train/x/1.png", "train/y/2.png", "test/3.png"])
    write(folder, sample_submission="id,label\n3,x\n")
    with (folder / "read\udcffme.txt").open("w"), zipfile.ZipFile(folder / "old\udcff.zip", "w") as archive:
        archive.writestr("train/y/4.png", "")
    assert len(read().train) == 3


def test_tables_may_be_called_as_hosts_call_them(folder: Path, read: Read) -> None:
    write_images(folder, ["train/1.png", "train/2.png", "test/3.png"])
    (folder / "sampleSubmission.csv").write_text("id,label\n3,x\n")
    (folder / "train_labels.csv").write_text("id,label\n1,x\n2,y\n")
    assert read().train["label"].tolist() == ["x", "y"]
    (folder / "Training.csv").write_text("id,label\n1,y\n2,x\n")
    with pytest.raises(
        UserError, match=r"Training\.csv and train_labels\.csv: rename the one that is meant to train\.csv"
    ):
        read()
    (folder / "train.csv").write_text("id,label\n1,z\n2,x\n")
    assert read().train["label"].tolist() == ["z", "x"]
