"""What hosts ask for: one class's probability, several labels a cell, a class without rows, a hidden test set."""

import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pandas as pd

from supcon.storage.tables import Dialect, read_with_dialect, write_table
from tests.awkward.case import CLASSES, Case, images_in

Change = Callable[[Path], None]


def labels(of_class: Callable[[str, int], str], column: str = "label") -> Change:
    """Give each training row, of a class and at a place, another label, in a column of that name."""
    return partial(_write_labels, of_class=of_class, column=column)


def _write_labels(folder: Path, of_class: Callable[[str, int], str], column: str) -> None:
    table, dialect = read_with_dialect(folder / "train.csv")
    table["label"] = [of_class(label, place) for place, label in enumerate(table["label"])]
    write_table(folder / "train.csv", table.rename(columns={"label": column}), dialect)


def sample(*cells: str, columns: tuple[str, ...] = ("label",)) -> Change:
    """Let the sample hold these cells, one after the other in each row; or, with `columns`, in each of them."""
    return partial(_write_sample, cells=cells, columns=columns)


def _write_sample(folder: Path, cells: tuple[str, ...], columns: tuple[str, ...]) -> None:
    table, dialect = read_with_dialect(folder / "sample_submission.csv")
    own = {
        column: [cells[(row + place) % len(cells)] for row in range(len(table))] for place, column in enumerate(columns)
    }
    write_table(folder / "sample_submission.csv", pd.concat([table.iloc[:, :1], pd.DataFrame(own)], axis=1), dialect)


def both(*changes: Change) -> Change:
    """Make several changes."""

    def change(folder: Path) -> None:
        for own in changes:
            own(folder)

    return change


def two(first: str, second: str, column: str = "label") -> Change:
    """Let train.csv have two classes: ants are the first."""
    return labels(lambda label, _: first if label == "ant" else second, column)


def mark_classes(folder: Path, columns: tuple[str, ...]) -> None:
    """Let train.csv have a column of 0.0 and 1.0 for each of `columns`."""
    table, dialect = read_with_dialect(folder / "train.csv")
    marks = {name: [f"{float(label == name):.1f}" for label in table["label"]] for name in columns}
    write_table(folder / "train.csv", pd.concat([table.drop(columns="label"), pd.DataFrame(marks)], axis=1), dialect)


def mark_twice(folder: Path) -> None:
    """Mark two classes of the first rows."""
    mark_classes(folder, CLASSES)
    table, dialect = read_with_dialect(folder / "train.csv")
    for name in CLASSES[:2]:
        table.loc[[0, 1], name] = "1.0"
    write_table(folder / "train.csv", table, dialect)
    sample("0.3", columns=CLASSES)(folder)


def class_folders(folder: Path) -> None:
    """Put the training images into a folder a class, in place of train.csv."""
    table, _ = read_with_dialect(folder / "train.csv")
    for name, label in zip(table["id"], table["label"], strict=True):
        (folder / "train" / label).mkdir(exist_ok=True)
        (folder / "train" / f"{name}.png").rename(folder / "train" / label / f"{name}.png")
    (folder / "train.csv").unlink()


def hide_test(folder: Path, *, listed: bool = True, flat: bool = False) -> None:
    """Leave ids of the test rows, and none of their images; `flat`: the images in a folder of another name."""
    shutil.rmtree(folder / "test")
    ids = ["hid1", "hid2", "hid3"]
    write_table(folder / "sample_submission.csv", pd.DataFrame({"id": ids, "label": ["ant"] * 3}), Dialect())
    if listed:
        write_table(folder / "test.csv", pd.DataFrame({"id": ids}), Dialect())
    if flat:
        (folder / "train").rename(folder / "images")


def hide_by_training_ids(folder: Path) -> None:
    """Hide the test images; what the ids fit are images of training rows."""
    hide_test(folder, flat=True)
    table = pd.DataFrame({"id": ["img0", "img1", "img2"], "label": ["ant"] * 3})
    write_table(folder / "sample_submission.csv", table, Dialect())
    write_table(folder / "test.csv", table[["id"]], Dialect())


def misplace_test(folder: Path) -> None:
    """Put the test images below a folder of the other part."""
    (folder / "test").rename(folder / "train" / "later")


def keep_one_test_image(folder: Path) -> None:
    for path in list(images_in(folder / "test"))[1:]:
        path.unlink()


SHARE = sample("0.5")
PROBABILITY, HIDDEN = (
    r"scored by roc_auc\n(.*\n)*note .*macro_f1 scores labels.*roc_auc is taken",
    "no submission can be",
)
COMBINED = r"note +12 training rows have several labels, such as 'bee{}cat'"
UNKNOWN = r"note +the column 'dog' of sample_submission\.csv is no class.*gets probability 0 \(1 such columns\)"
FOUR = (*CLASSES, "dog")


def pair(label: str, place: int, between: str) -> str:
    """Return two labels for each second row."""
    other = CLASSES[(CLASSES.index(label) + 1) % 3]
    return f"{label}{between}{other}" if place % 2 else label


CASES = [
    # the probability of one class
    Case("one_probability", both(two("0", "1"), SHARE), classes=("0", "1"),
         says="the probability of '1'; " + PROBABILITY),
    Case("one_probability_of_yes", both(two("no", "Yes"), sample("0.25", "0.75")), classes=("no", "Yes"),
         says="the probability of 'Yes'; " + PROBABILITY),
    Case("one_probability_of_true", both(two("True", "False"), SHARE), classes=("False", "True"),
         says="the probability of 'True'"),
    Case("one_probability_of_floats", both(two("1.0", "0.0"), sample("0.5", "1")), classes=("0", "1"),
         says="the probability of '1'"),
    Case("one_probability_of_the_column", both(two("cat", "Dog", "dog"), sample("0.5", columns=("dog",))),
         classes=("cat", "Dog"), says="the probability of 'Dog'"),
    Case("one_probability_of_has_cactus",
         both(two("no_cactus", "cactus", "has_cactus"), sample("0.5", columns=("has_cactus",))),
         classes=("cactus", "no_cactus"), says="the probability of 'cactus'"),
    Case("one_probability_of_either", both(two("cat", "dog"), SHARE),
         asks=r"holds '0\.5' in its column 'label', .*of which\? Add --data\.positive_class cat or .*class dog"),
    Case("one_probability_named", both(two("cat", "dog"), SHARE), flags=["--data.positive_class=cat"],
         classes=("cat", "dog"), says="the probability of 'cat'"),
    Case("one_probability_misnamed", both(two("cat", "dog"), SHARE), flags=["--data.positive_class=cow"],
         asks=r"--data\.positive_class cow is no class .* \['cat', 'dog'\]"),
    Case("one_probability_by_log_loss", both(two("0", "1"), SHARE), flags=["--tune.metric=log_loss"],
         classes=("0", "1"), says="the probability of '1'; scored by log_loss\n(?!(.*\n)*note)" ,composes=False),
    Case("one_probability_by_f1", both(two("0", "1"), SHARE), flags=["--tune.metric=macro_f1"],
         asks=r"macro_f1 scores labels, but .* asks for the probability of '1': choose roc_auc or log_loss"),
    Case("labels_for_probabilities", both(two("0", "1"), SHARE), flags=["--data.submit=label"], classes=("0", "1")),
    Case("whole_numbers_are_labels", both(two("0", "1"), sample("0", "1")), classes=("0", "1")),
    Case("whole_numbers_asked_as_probability", both(two("0", "1"), sample("0")), classes=("0", "1"),
         flags=["--data.submit=probability", "--tune.metric=log_loss"], says="of '1'; scored by log_loss"),
    Case("log_loss_of_labels", both(two("0", "1"), sample("0")), flags=["--tune.metric=log_loss"],
         asks=r"log_loss scores probabilities, but .* asks for labels: .* --data\.positive_class"),
    Case("fractions_are_classes", both(two("0.5", "1.5"), SHARE), classes=("0.5", "1.5")),
    Case("one_probability_of_three", SHARE, asks=r"of one class; of which\? Add --data\.positive_class .*3 classes"),
    Case("one_probability_of_three_named", SHARE, flags=["--data.positive_class=bee"], says="of 'bee'; " + PROBABILITY),
    Case("log_loss_of_one_of_three", SHARE, flags=["--data.positive_class=bee", "--tune.metric=log_loss"],
         asks="log_loss of 3 classes is not that of the probability of 'bee': choose roc_auc"),
    # cells that are no class
    Case("a_number_for_words", sample("0"), asks=r"holds '0' .* no class .*--data\.submit label"),
    Case("a_number_for_words_settled", sample("0"), flags=["--data.submit=label"]),
    Case("a_place_holder", sample("unknown"), says="note +sample_submission.csv holds 'unknown' .*to hold a place"),
    Case("an_empty_cell", sample("")),
    # several labels in a cell
    Case("three_likeliest", sample("ant bee cat"), says=r"then the 3 likeliest labels; (.*\n)*note .*'ant bee cat'"),
    Case("two_likeliest", sample("ant,bee", "cat,ant"), says="then the 2 likeliest labels"),
    Case("the_likeliest_alone", sample("ant bee cat"), flags=["--data.submit=label"]),
    Case("likeliest_by_log_loss", sample("ant bee"), flags=["--tune.metric=log_loss"],
         asks="log_loss scores probabilities, but .* asks for the 2 likeliest labels"),
    Case("unequal_numbers_of_labels", sample("ant bee cat", "ant"), asks=r"'ant bee cat' .* --data\.submit label"),
    Case("a_label_with_its_confidence", sample("ant 0.9"), asks=r"holds 'ant 0\.9' .* --data\.submit label"),
    *(
        Case(f"several_labels_{name}", labels(partial(pair, between=between)), says=COMBINED.format(re.escape(between)),
             classes=(*CLASSES, *(pair(label, 1, between) for label in CLASSES)))
        for name, between in {"by_blanks": " ", "by_commas": ",", "by_bars": "|"}.items()
    ),
    Case("several_marks", mark_twice, asks=r"row 2 marks .* are not supported.* \(2 such rows\)"),
    # classes without rows
    Case("unknown_class", both(partial(mark_classes, columns=FOUR), sample("0.25", columns=FOUR)), says=UNKNOWN),
    Case("unknown_class_in_the_sample",
         both(partial(mark_classes, columns=CLASSES), sample("0.25", columns=FOUR)), says=UNKNOWN),
    Case("unknown_class_of_labels", sample("0.25", columns=FOUR), says=UNKNOWN),
    Case("unknown_class_of_folders", both(class_folders, sample("0.25", columns=FOUR)), says=UNKNOWN, composes=False),
    Case("a_column_that_is_no_class", sample("ant", "Public", columns=(*CLASSES, "Usage")),
         asks="holds '.*' in the column 'Usage', which is no class"),
    Case("likeliest_in_columns", sample(*CLASSES, columns=("first", "second")), flags=["--data.label_column=label"],
         asks="holds '.*' in the column 'first', which is no class .* needed are"),
    Case("a_class_without_a_column", sample("0.5", columns=CLASSES[:2]), flags=["--data.label_column=label"],
         asks="the class 'cat', for which .* has no column"),
    # a hidden test set
    Case("hidden_test", hide_test, test=0, says=HIDDEN, composes=False),
    Case("hidden_test_without_a_table", partial(hide_test, listed=False), test=0, says=HIDDEN, composes=False),
    Case("hidden_test_beside_flat_images", partial(hide_test, flat=True), test=0, says=HIDDEN, composes=False),
    Case("hidden_test_of_training_ids", hide_by_training_ids, test=0, says=HIDDEN, composes=False),
    Case("test_images_among_training_ones", misplace_test, asks="no image", composes=False),
    Case("one_test_image_of_six", keep_one_test_image, asks="no image", composes=False),
]  # fmt: skip
