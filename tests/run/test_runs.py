"""What a run decided, joined by id."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from supcon.errors import UserError
from supcon.run.runs import read_labels, write_labels
from supcon.run.split import Split


def experiment(folder: Path) -> Any:
    """Four scored rows of two classes."""
    split = pd.DataFrame({"id": ["a", "b", "c", "d"], "label": ["ant", "bee", "bee", "ant"], "fold": 0})
    return SimpleNamespace(request=SimpleNamespace(run_folder=folder), split=Split(split))


def test_labels_are_read_by_id_whatever_their_order_and_odd_tables_are_refused(tmp_path: Path) -> None:
    labels, path = np.array([0, 1, 1, 0]), tmp_path / "cross_fitted.csv"
    write_labels(experiment(tmp_path), labels)
    table = pd.read_csv(path)
    table[::-1].to_csv(path, index=False)
    np.testing.assert_array_equal(read_labels(experiment(tmp_path)), labels)
    odd = [table[1:], pd.concat([table, table[:1]]), table.assign(label="wasp"), table.drop(columns="label")]
    for table in odd:
        table.to_csv(path, index=False)
        with pytest.raises(UserError, match=r"cross_fitted\.csv .*: run tune with --force"):
            read_labels(experiment(tmp_path))
