"""The split: stratified, grouped, covering, checked."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from supcon.competition.folds import join_groups, make_folds, read_folds, write_folds
from supcon.competition.read import Competition
from supcon.config.settings import DataSettings
from supcon.errors import UserError

SETTINGS = DataSettings(folds=5)


def competition(labels: list[str], groups: list[str] | None = None) -> Competition:
    ids = [f"r{number}" for number in range(len(labels))]
    train = pd.DataFrame({"id": ids, "path": ids, "label": labels, "group": groups or [""] * len(labels)})
    return Competition(Path(), train, pd.DataFrame({"id": [], "path": []}), "id", "label")


def hashes(count: int) -> list[str]:
    return [f"h{number}" for number in range(count)]


def test_classes_are_spread_evenly_and_every_row_has_one_fold() -> None:
    table = make_folds(competition(["a"] * 50 + ["b"] * 23 + ["c"] * 5), hashes(78), SETTINGS)
    counts = pd.crosstab(table["label"], table["fold"])
    assert np.ptp(counts.to_numpy(), axis=1).max() <= 1
    assert list(counts.loc["c"]) == [1] * 5
    assert list(table.columns) == ["id", "label", "group", "fold"]


def test_groups_never_cross_folds_and_every_fold_holds_every_class() -> None:
    labels = [name for name in "abcd" for _ in range(40)]
    groups = [f"g{number // 4}" for number in range(160)]
    table = make_folds(competition(labels, groups), hashes(160), SETTINGS)
    assert table.assign(given=groups).groupby("given")["fold"].nunique().max() == 1
    assert pd.crosstab(table["label"], table["fold"]).to_numpy().min() > 0


def test_equal_images_share_a_fold() -> None:
    images = hashes(60)
    images[7] = images[31] = images[55]
    table = make_folds(competition(["a"] * 30 + ["b"] * 30), images, SETTINGS)
    assert table["fold"][[7, 31, 55]].nunique() == 1
    assert table["group"][[7, 31, 55]].nunique() == 1
    assert table["group"][0] == ""


def test_groups_and_equal_images_join_into_components() -> None:
    joined = join_groups(["x", "x", "", "y", ""], ["1", "2", "2", "3", "4"])
    assert joined[0] == joined[1] == joined[2]
    assert len(set(joined)) == 3


@pytest.mark.parametrize("groups", [None, ["one"] * 10 + ["two"] * 10 + [""] * 40])
def test_a_class_that_cannot_be_in_every_fold_is_named(groups: list[str] | None) -> None:
    labels = ["rare"] * (3 if groups is None else 20) + ["a"] * (57 if groups is None else 40)
    with pytest.raises(UserError, match=r"class 'rare'.*--data\.folds"):
        make_folds(competition(labels, groups), hashes(60), SETTINGS)


def test_a_class_of_one_row_gets_a_cure_that_works() -> None:
    with pytest.raises(UserError, match="class 'rare' has 1 training row.*merge or drop"):
        make_folds(competition(["rare"] + ["a"] * 59), hashes(60), SETTINGS)


def test_the_split_is_read_back_by_id_and_a_users_own_is_honoured(tmp_path: Path) -> None:
    given = competition(["a"] * 20 + ["b"] * 20)
    path = tmp_path / "folds.csv"
    table = make_folds(given, hashes(40), SETTINGS)
    write_folds(path, table.sample(frac=1, random_state=0))
    pd.testing.assert_series_equal(read_folds(path, given, SETTINGS)["fold"], table["fold"], check_dtype=False)
    own = table.assign(fold=np.arange(40) % 5)
    write_folds(path, own)
    assert read_folds(path, given, SETTINGS)["fold"].tolist() == own["fold"].tolist()


def test_a_group_column_named_after_the_split_was_made_is_not_ignored(tmp_path: Path) -> None:
    labels = ["a"] * 20 + ["b"] * 20
    write_folds(tmp_path / "folds.csv", make_folds(competition(labels), hashes(40), SETTINGS))
    grouped = competition(labels, [f"patient {number // 4}" for number in range(40)])
    with pytest.raises(UserError, match=r"group 'patient \d' stands in \d folds: use another --root"):
        read_folds(tmp_path / "folds.csv", grouped, SETTINGS)


def test_a_split_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    given = competition(["a"] * 20 + ["b"] * 20)
    table = make_folds(given, hashes(40), SETTINGS)
    path = tmp_path / "folds.csv"
    cases = {
        "does not match the training rows": table.iloc[1:],
        "another label": table.assign(label="b"),
        "use another --root": table.assign(fold=np.arange(40) % 4),
        "not a number": table.assign(fold="first"),
        "stands in 5 folds": table.assign(group="g"),
        "needed are": table.drop(columns="group"),
        "missing from fold": table.assign(fold=[n % 5 for n in range(20)] + [n % 4 for n in range(20)]),
    }
    for said, broken in cases.items():
        broken.to_csv(path, index=False)
        with pytest.raises(UserError, match=said):
            read_folds(path, given, SETTINGS)
