"""One line, without secrets."""

import pytest
from torch._utils import ExceptionWrapper

from supcon.errors import UserError, masked


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mysql+pymysql://user:SECRET@host/x", "mysql+pymysql://***@host/x"),
        ("postgresql://user:SE@C:R/ET@host:5432/x?sslmode=require", "postgresql://***@host:5432/x?sslmode=require"),
        ("redis://:SECRET@host", "redis://***@host"),
        ("postgresql://host/x?user=u&password=SECRET&connect_timeout=1", "postgresql://host/x?user=u&password=***&co"),
        ("https://host/x?access_token=SECRET", "https://host/x?access_token=***"),
        ("no answer of 'mysql://u:SECRET@host/x' (see https://docs.org/a)", "no answer of 'mysql://***@host/x' (see h"),
        ("sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("write to me@home.org", "write to me@home.org"),
    ],
)
def test_who_logs_in_is_not_shown(text: str, shown: str) -> None:
    assert masked(text).startswith(shown)
    assert str(UserError(text)) == masked(text)
    assert "SECRET" not in masked(text)


def test_an_error_from_a_loaders_process_is_its_own_line_alone() -> None:
    try:
        raise UserError("pixels are damaged: delete them")
    except UserError:
        wrapper = ExceptionWrapper(where="in DataLoader worker process 0")
    with pytest.raises(UserError) as raised:
        wrapper.reraise()
    assert str(raised.value) == "pixels are damaged: delete them"
