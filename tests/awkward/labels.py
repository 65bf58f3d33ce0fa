"""Labels that differ by how they are written alone."""

from collections.abc import Callable, Sequence
from pathlib import Path

from tests.awkward.case import TEST, TRAIN, Case


def labelled(*spellings: Sequence[str], sample: str = "ant") -> Callable[[Path], None]:
    """Write train.csv with the spellings of each class in turn, and a sample with one label."""

    def change(folder: Path) -> None:
        rows = [f"img{n},{spellings[n % 3][n // 3 % len(spellings[n % 3])]}\n" for n in TRAIN]
        (folder / "train.csv").write_text("id,label\n" + "".join(rows))
        (folder / "sample_submission.csv").write_text("id,label\n" + "".join(f"img{n},{sample}\n" for n in TEST))

    return change


def columns(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        rows = "".join(f"img{n},0.3,0.3,0.4\n" for n in TEST)
        (folder / "sample_submission.csv").write_text(f"id,{','.join(names)}\n{rows}")

    return change


def numbers_for(*names: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        labelled(["0.0"], ["1.0"], ["2.0"])(folder)
        columns(*names)(folder)

    return change


CATS = labelled(["ant"], ["bee"], ["cat", "Cat", "cat "])
LETTERS = labelled(["a"], ["A"], ["b"], sample="a")
CASES = [
    Case("a class in three spellings", CATS, says="5 rows of train.csv .* first 'Cat' for 'cat': they are one class"),
    Case(
        "a class in three spellings kept apart",
        CATS,
        classes=("ant", "bee", "cat", "Cat", "cat "),
        flags=["--data.label_spelling=keep", "--data.rare_classes=train_only"],
    ),
    Case(
        "the sample's spelling",
        labelled(["Ant", "ant", "ANT"], ["bee"], ["cat"], sample="ANT"),
        classes=("ANT", "bee", "cat"),
        says="6 rows .* for 'ANT'",
    ),
    Case(
        "blanks within",
        labelled(["fire ant", "fire  ant"], ["bee"], ["cat"]),
        classes=("fire ant", "bee", "cat"),
        says="4 rows",
    ),
    Case(
        "accents",
        labelled(["é"], ["e\u0301 ", "bee"], ["cat"], sample="cat"),
        classes=("é", "bee", "cat"),
        says="4 rows",
    ),
    Case(
        "fractions",
        labelled(["0.0"], ["1.0"], ["2.0"], sample="0"),
        classes=("0", "1", "2"),
        says="3 classes .* '0' for '0.0'",
    ),
    Case(
        "fractions in the sample",
        labelled("0", "1", "2", sample="1.0"),
        classes=("0.0", "1.0", "2.0"),
        says="'0.0' for '0'",
    ),
    Case(
        "fractions and none",
        labelled(["0"], ["1", "1.0"], ["2"], sample=""),
        classes=("0", "1", "2"),
        says="4 rows .* '1.0' for '1'",
    ),
    Case(
        "fractions that nobody explains",
        labelled(["0.0"], ["1.0"], ["2.0"], sample=""),
        classes=("0.0", "1.0", "2.0"),
        says="3 classes are submitted as train.csv writes them",
    ),
    Case(
        "columns of the sample", numbers_for("0", "1", "2"), classes=("0", "1", "2"), says="3 classes .* '0' for '0.0'"
    ),
    Case(
        "columns in capitals",
        columns("ANT", "BEE", "CAT"),
        classes=("ANT", "BEE", "CAT"),
        says="3 classes .* 'ANT' for 'ant'",
    ),
    Case(
        "only one class of the sample is known",
        labelled(["Ant"], ["Bee"], ["Cat"]),
        asks="writes 'ant', .*train.csv writes 'Ant'.*--data.label_spelling keep",
    ),
    Case("letters", LETTERS, classes=("a", "A", "b"), says="letters that differ in case alone"),
    Case("letters merged", LETTERS, classes=("a", "b"), says="8 rows", flags=["--data.label_spelling=merge"]),
    Case(
        "zeros in front", labelled(["01", "1"], ["02"], ["10"], sample="01"), classes=("01", "02", "10"), says="4 rows"
    ),
]
