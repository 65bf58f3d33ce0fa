"""Tables as spreadsheets, programs and hosts write them: where they lie, their names and columns."""

import shutil
from collections.abc import Callable
from pathlib import Path

from tests.awkward.case import CLASSES, TEST, TRAIN, Case, write_image

TABLES = ("train.csv", "sample_submission.csv")


def both(edit: Callable[[str], str], *names: str, encoding: str = "utf-8") -> Callable[[Path], None]:
    """Change the text of tables, of both without `names`."""

    def change(folder: Path) -> None:
        for name in names or TABLES:
            path = folder / name
            path.write_bytes(edit(path.read_bytes().decode()).encode(encoding))

    return change


def counted(first: str) -> Callable[[str], str]:
    """Add the column that pandas writes with its index, and calls so when it reads it again."""

    def edit(text: str) -> str:
        head, *lines = text.splitlines()
        return "\n".join([f"{first},{head}", *(f"{n * 3},{line}" for n, line in enumerate(lines))]) + "\n"

    return edit


def excel(text: str) -> str:
    return "sep=;\r\n" + text.replace(",", ";").replace("\n", "\r\n")


def columns(train: str, sample: str, test: str = "") -> Callable[[Path], None]:
    """Write tables whose rows are made of a number n and a label, by a header and a pattern."""

    def change(folder: Path) -> None:
        for name, pattern, numbers in (
            ("train", train, TRAIN),
            ("sample_submission", sample, TEST),
            ("test", test, TEST),
        ):
            if pattern:
                head, row = pattern.split("\n")
                rows = [row.format(n=number, label=CLASSES[number % 3]) for number in numbers]
                (folder / f"{name}.csv").write_text("\n".join([head, *rows]) + "\n")

    return change


def deep(*names: str) -> Callable[[Path], None]:
    """Move everything down."""

    def change(folder: Path) -> None:
        there, target = list(folder.iterdir()), folder.joinpath(*names)
        target.mkdir(parents=True)
        for path in there:
            path.rename(target / path.name)

    return change


def called(train: str = "train.csv", sample: str = "sample_submission.csv") -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "train.csv").rename(folder / train)
        (folder / "sample_submission.csv").rename(folder / sample)

    return change


def one_hot_with_labels_csv(folder: Path) -> None:
    columns("id,label\nimg{n},{label}", "id,ant,bee,cat\nimg{n},0.3,0.3,0.4")(folder)
    called("labels.csv")(folder)


def labels_csv_of_class_names(folder: Path) -> None:
    """Folders are the classes; labels.csv only describes these."""
    for number in TRAIN:
        write_image(folder / "train" / CLASSES[number % 3] / f"img{number}.png", number)
        (folder / "train" / f"img{number}.png").unlink()
    (folder / "train.csv").unlink()
    (folder / "labels.csv").write_text("number,label\n0,ant\n1,bee\n2,cat\n")


def two_competitions(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name).mkdir()
        shutil.copy(folder / "train.csv", folder / name)
    (folder / "train.csv").unlink()


def train_beside_the_sample(folder: Path) -> None:
    """Another train.csv, of other data, lies as deep."""
    deep("bugs")(folder)
    (folder / "other").mkdir()
    (folder / "other" / "train.csv").write_text("id,label\nx,y\n")


def unknown_id(*, without_test: bool = False) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        (folder / "test.csv").write_text("id\n" + "".join(f"img{number}\n" for number in TEST))
        sample = folder / "sample_submission.csv"
        text = sample.read_text().replace("img103", "img993")
        sample.write_text(text if not without_test else text + "img999,ant\n")

    return change


EXPLAINED = r"note *sample_submission.csv: ids are in the column 'id', which is not the first"
CASES = [
    Case("unnamed counter", both(counted("")), says=EXPLAINED),
    Case("counter of pandas", both(counted("Unnamed: 0")), says=EXPLAINED),
    Case("counter in train.csv alone", both(counted(""), "train.csv")),
    Case("counter and another label column", columns(",id,kind\n{n},img{n},{label}", "id,label\nimg{n},ant")),
    Case("ids in an unnamed column", columns(",label\nimg{n},{label}", ",label\nimg{n},ant")),
    Case("id is the last column", columns("label,id\n{label},img{n}", "label,id\nant,img{n}"), says=EXPLAINED),
    Case(
        "ids behind probabilities",
        columns("label,id\n{label},img{n}", "ant,bee,cat,id\n0.3,0.3,0.4,img{n}"),
        says=EXPLAINED,
    ),
    Case("sep line", both(excel)),
    Case("sep line with a byte order mark", both(excel, encoding="utf-8-sig")),
    Case("sep line of commas", both("sep=,\n{}".format)),
    Case("blanks behind commas", both(lambda text: text.replace(",", ", "))),
    Case("blanks behind commas in train.csv", both(lambda text: text.replace(",", ", "), "train.csv")),
    Case(
        "quoted behind blanks", both(lambda text: '"' + text.strip().replace(",", '", "').replace("\n", '"\n"') + '"\n')
    ),
    Case(
        "blanks in the cells alone",
        both(lambda text: text.replace(",", ", ").replace("id, label", "id,label"), "train.csv"),
        says="3 classes are written as in sample_submission.csv .* 'ant' for ' ant'",
    ),
    Case(
        "blanks in the header alone",
        both(lambda text: text.replace("id,label", "id , label ", 1), "train.csv"),
        says="as none is called 'id'",
    ),
    Case("padded cells", both(lambda text: text.replace(",", " ,")), says="blanks"),
    Case("deep tables", deep("competitions", "bugs")),
    Case("very deep tables", deep("a", "b", "c", "d")),
    Case("another train.csv as deep", train_beside_the_sample),
    Case("train.csv twice", two_competitions, asks=r"one/train\.csv and .*two/train\.csv: keep the one that is meant"),
    Case("labels.csv", one_hot_with_labels_csv, says="labels.csv is read in place of train.csv"),
    Case("train_metadata.csv", called("train_metadata.csv"), says="train_metadata.csv is read in place"),
    Case("metadata in tabs", called("Metadata.tsv"), says="Metadata.tsv is read in place"),
    Case("y_train.csv", called("y_train.csv"), says="y_train.csv is read in place"),
    Case("a table of a spreadsheet", called("train.xlsx"), asks=r"train\.xlsx is no CSV file: save it as train\.csv"),
    Case("a delimiter at each line's end", both(lambda text: text.replace("\n", ",\n"))),
    Case(
        "a delimiter at each line's end, label called otherwise",
        columns("id,kind,\nimg{n},{label},", "id,label,\nimg{n},ant,"),
    ),
    Case("capitals", called("TRAIN.CSV", "Sample-Submission.CSV")),
    Case("a submission's format", called(sample="submission_format.csv")),
    Case("labels.csv names classes", labels_csv_of_class_names),
    Case(
        "id called otherwise",
        columns("image_name,label\nimg{n},{label}", "id,label\nimg{n},ant", "id,width\nimg{n},40"),
        says="train.csv: ids are in the column 'image_name', as none is called 'id'",
    ),
    Case(
        "id_column of train.csv alone",
        columns("image_name,file,label\nimg{n},img{n}.png,{label}", "id,label\nimg{n},ant", "id,width\nimg{n},40"),
        flags=["--data.id_column=image_name"],
    ),
    Case(
        "id called otherwise in test.csv too",
        columns("image_name,label\nimg{n},{label}", "id,label\nimg{n},ant", "image,width\nimg{n},40"),
        says="test.csv: ids are in the column 'image'",
    ),
    Case(
        "Id and id",
        columns("Id,Label\nimg{n},{label}", "id,label\nimg{n},ant"),
        says="train.csv: ids are in the column 'Id'",
    ),
    Case("image and id", columns("image_id,filename,label\nimg{n},img{n}.png,{label}", "image_id,label\nimg{n},ant")),
    Case(
        "image and id, label called otherwise",
        columns("id,file,kind\nimg{n},img{n}.png,{label}", "id,label\nimg{n},ant"),
    ),
    Case(
        "image and id, numbers for ids",
        columns("id,file,label\n{n},img{n}.png,{label}", "id,label\n{n},ant", "id,file\n{n},img{n}.png"),
    ),
    Case(
        "image and id, another suffix",
        columns("id,file,label\n{n},img{n}.jpg,{label}", "id,label\n{n},ant", "id,file\n{n},img{n}.jpg"),
        says=r"30 images .*\(suffix\)",
    ),
    Case(
        "two columns of images",
        columns("a,b,label\nimg{n},img{n},{label}", "id,label\nimg{n},ant"),
        asks="--data.id_column",
    ),
    Case(
        "another id in the sample",
        unknown_id(),
        asks=r"test\.csv has the id 'img103', which sample_submission\.csv lacks \(1 such ids\);"
        r" sample_submission\.csv has the id 'img993', which test\.csv lacks \(1 such ids\)",
    ),
    Case(
        "other ids in the sample",
        unknown_id(without_test=True),
        asks=r"'img103', which .* \(1 such ids\); .* 'img993', which .* \(2 such ids\)",
    ),
    Case(
        "another code page",
        both(lambda text: text.replace("ant", "crème"), "train.csv", encoding="cp1252"),
        asks="is not utf-8 text .*save it as UTF-8",
    ),
]
