"""The split: stratified, grouped, covering, checked."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest

from supcon.arrays import Rows
from supcon.competition.folds import (
    LEFT_OUT,
    TRAIN_ONLY,
    check_copies,
    join_groups,
    make_folds,
    read_folds,
    write_folds,
)
from supcon.errors import UserError
from supcon.settings.settings import DataSettings

SETTINGS = DataSettings(folds=5)
NONE: npt.NDArray[np.int64] = np.zeros((0, 2), np.int64)
NO_ROW: Rows = np.zeros(0, np.int64)


def rows(labels: list[str], groups: list[str] | None = None) -> pd.DataFrame:
    ids = [f"r{number}" for number in range(len(labels))]
    return pd.DataFrame({"id": ids, "path": ids, "label": labels, "group": groups or [""] * len(labels)}, dtype=str)


def split(
    train: pd.DataFrame, copies: npt.NDArray[np.int64] = NONE, left_out: Rows = NO_ROW, **settings: str
) -> pd.DataFrame:
    return make_folds(train, copies, left_out, DataSettings(folds=5, **settings))  # type: ignore[arg-type]


def test_classes_are_spread_evenly_and_every_row_has_one_fold() -> None:
    table = split(rows(["a"] * 50 + ["b"] * 23 + ["c"] * 5))
    counts = pd.crosstab(table["label"], table["fold"])
    assert np.ptp(counts.to_numpy(), axis=1).max() <= 1
    assert list(counts.loc["c"]) == [1] * 5
    assert list(table.columns) == ["id", "label", "group", "fold"]


def test_groups_never_cross_folds_and_every_fold_holds_every_class() -> None:
    labels = [name for name in "abcd" for _ in range(40)]
    groups = [f"g{number // 4}" for number in range(160)]
    table = split(rows(labels, groups))
    assert table.assign(given=groups).groupby("given")["fold"].nunique().max() == 1
    assert pd.crosstab(table["label"], table["fold"]).to_numpy().min() > 0


def test_copies_share_a_fold() -> None:
    table = split(rows(["a"] * 30 + ["b"] * 30), np.array([[7, 31], [31, 55]]))
    assert table["fold"][[7, 31, 55]].nunique() == 1
    assert table["group"][[7, 31, 55]].nunique() == 1
    assert table["group"][0] == ""


def test_groups_and_copies_join_into_components() -> None:
    joined = join_groups(["x", "x", "", "y", ""], np.array([[1, 2]]))
    assert joined[0] == joined[1] == joined[2]
    assert len(set(joined)) == 3


@pytest.mark.parametrize("groups", [None, ["one"] * 10 + ["two"] * 10 + [""] * 60])
def test_a_class_that_cannot_be_in_every_fold_is_named_with_a_cure_that_works(groups: list[str] | None) -> None:
    labels = ["rare"] * (3 if groups is None else 20) + ["a"] * 40 + ["b"] * 20
    with pytest.raises(UserError, match=r"class 'rare'.*fewer than the 5 folds: --data\.rare_classes train_only"):
        split(rows(labels, groups))
    table = split(rows(labels, groups), rare_classes="train_only")
    assert set(table["fold"][table["label"] == "rare"]) == {TRAIN_ONLY}
    assert set(table["fold"][table["label"] == "a"]) == set(range(5))


def test_whoever_shares_a_group_with_a_rare_row_is_trained_on_only() -> None:
    labels = ["rare"] + ["a"] * 29 + ["b"] * 30
    table = split(rows(labels), np.array([[0, 1]]), rare_classes="train_only")
    assert table["fold"][[0, 1]].tolist() == [TRAIN_ONLY] * 2
    assert (table["fold"][2:] >= 0).all()


def test_a_class_that_becomes_rare_by_that_follows_it() -> None:
    labels = ["rare"] + ["b"] * 5 + ["a"] * 30 + ["c"] * 30
    table = split(rows(labels), np.array([[0, 1]]), rare_classes="train_only")
    assert (table["fold"][:6] == TRAIN_ONLY).all()


def test_rows_left_out_have_no_fold_and_do_not_count(tmp_path: Path) -> None:
    train = rows(["a"] * 20 + ["b"] * 20)
    table = split(train, left_out=np.array([3, 21]))
    assert table["fold"][[3, 21]].tolist() == [LEFT_OUT] * 2
    write_folds(tmp_path / "folds.csv", table)
    assert (tmp_path / "folds.csv").read_text().splitlines()[4] == "r3,a,,"
    pd.testing.assert_series_equal(
        read_folds(tmp_path / "folds.csv", train, SETTINGS)["fold"], table["fold"], check_dtype=False
    )
    with pytest.raises(UserError, match="class 'b' has 4 training rows, fewer"):
        split(rows(["a"] * 20 + ["b"] * 5), left_out=np.array([20]))


def test_the_split_is_read_back_by_id_and_a_users_own_is_honoured(tmp_path: Path) -> None:
    train = rows(["a"] * 20 + ["b"] * 20)
    path = tmp_path / "folds.csv"
    table = split(train)
    write_folds(path, table.sample(frac=1, random_state=0))
    pd.testing.assert_series_equal(read_folds(path, train, SETTINGS)["fold"], table["fold"], check_dtype=False)
    own = pd.DataFrame({"fold": np.arange(40) % 5, "id": table["id"]})
    own.loc[7, "fold"] = TRAIN_ONLY
    own.to_csv(path, index=False)
    assert read_folds(path, train, SETTINGS)["fold"].tolist() == own["fold"].tolist()


def test_labels_with_line_breaks_return_from_the_file(tmp_path: Path) -> None:
    train = rows(["old\rend", "new\nend"] * 10)
    write_folds(tmp_path / "folds.csv", split(train))
    assert read_folds(tmp_path / "folds.csv", train, SETTINGS)["label"].tolist() == train["label"].tolist()


def test_a_users_own_split_may_not_part_copies(tmp_path: Path) -> None:
    table = pd.DataFrame({"id": ["a", "b", "c", "d"], "fold": [0, 1, LEFT_OUT, 0]})
    check_copies(tmp_path / "folds.csv", table, np.array([[0, 3], [1, 2]]))
    with pytest.raises(UserError, match=r"'a' and 'b' are copies but stand in the folds 0 and 1 \(1 such pairs\)"):
        check_copies(tmp_path / "folds.csv", table, np.array([[0, 3], [0, 1]]))


def test_a_group_column_named_after_the_split_was_made_is_not_ignored(tmp_path: Path) -> None:
    labels = ["a"] * 20 + ["b"] * 20
    write_folds(tmp_path / "folds.csv", split(rows(labels)))
    grouped = rows(labels, [f"patient {number // 4}" for number in range(40)])
    with pytest.raises(UserError, match=r"group 'patient \d' stands in \d folds: use another --root"):
        read_folds(tmp_path / "folds.csv", grouped, SETTINGS)


def test_a_split_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    train = rows(["a"] * 20 + ["b"] * 20)
    table = split(train)
    path = tmp_path / "folds.csv"
    cases = {
        "the fold of id 'r0' is '99999": table.assign(fold="9" * 25),
        "id 'r0' is missing": table.iloc[1:],
        "id 'r40' is unknown": pd.concat([table, table.iloc[:1].assign(id="r40")]),
        "id 'r3' stands in it twice": pd.concat([table, table.iloc[3:4]]),
        "another label": table.assign(label="b"),
        r"has the folds \[0, 1, 2, 3\], .* use another --root": table.assign(fold=np.arange(40) % 4),
        "the fold of id 'r0' is 'first'": table.assign(fold="first"),
        "stands in 5 folds": table.assign(group="g"),
        "needed are": table.drop(columns="fold"),
        "missing from fold": table.assign(fold=[n % 5 for n in range(20)] + [n % 4 for n in range(20)]),
    }
    for message, broken in cases.items():
        broken.to_csv(path, index=False)
        with pytest.raises(UserError, match=message):
            read_folds(path, train, SETTINGS)
