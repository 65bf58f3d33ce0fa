"""Weights of a dataset, by the host's real client against the stand-in for the host."""

from pathlib import Path

import pytest

from supcon.commands import download
from supcon.errors import UserError
from tests.competition.host.standin import KEY, StandIn
from tests.competition.host.test_real_client import host, pytestmark
from tests.competition.host.test_weights import NAME, place, zipped

__all__ = ["host", "pytestmark"]  # a fixture; slow, and only where the client is installed
CONTENT = bytes(range(256)) * 12_000


@pytest.fixture
def dataset(host: StandIn) -> StandIn:
    """The stand-in, with a dataset that holds one file."""
    host.files["someone/birds-1/nets/start.pth"] = CONTENT
    return host


def fetch(root: Path, name: str = NAME) -> None:
    download.main(["--root", str(root), "--weights", name])


@pytest.mark.parametrize("sent_as", ["{}", "{}.zip"])
def test_the_file_arrives_byte_by_byte_zipped_or_not(
    sent_as: str, tmp_path: Path, dataset: StandIn, capfd: pytest.CaptureFixture[str]
) -> None:
    dataset.sent_as = sent_as
    if sent_as != "{}":
        dataset.files["someone/birds-1/nets/start.pth"] = zipped(CONTENT, "start.pth")
    fetch(tmp_path)
    assert place(tmp_path).read_bytes() == CONTENT
    assert {path.name for path in place(tmp_path).parent.iterdir()} == {"start.pth", ".start.pth.lock"}
    printed = capfd.readouterr()
    assert printed.out.splitlines() == [
        f"{NAME}: fetching it from the host, once, into {place(tmp_path).parent}",
        f"download: {place(tmp_path)} ({len(CONTENT):,} bytes)",
    ]
    assert KEY not in printed.out + printed.err


def test_a_download_that_broke_off_goes_on_where_it_stopped(tmp_path: Path, dataset: StandIn) -> None:
    dataset.breaks_after = 2_500_000  # the client writes a mebibyte at a time
    fetch(tmp_path)
    assert place(tmp_path).read_bytes() == CONTENT
    assert dataset.ranges == ["", f"bytes={2 * 2**20}-"]


@pytest.mark.parametrize("name", ["kaggle:someone/fish/start.pth", "kaggle:someone/birds-1/end.pth"])
def test_a_dataset_or_a_file_that_is_not_there_is_named(name: str, tmp_path: Path, dataset: StandIn) -> None:
    with pytest.raises(UserError, match=f"^{name}: the host has no such file, or does not show it to your account"):
        fetch(tmp_path, name)


def test_without_a_login_or_a_network_it_is_one_line(
    tmp_path: Path, dataset: StandIn, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as without:
        without.delenv("KAGGLE_KEY")
        with pytest.raises(UserError, match=f"^{NAME}: there is no valid login: run `kaggle auth login`"):
            fetch(tmp_path)
    dataset.server_close()
    with pytest.raises(UserError, match=f"^{NAME}: the host cannot be reached: check the network"):
        fetch(tmp_path)
    assert [path.name for path in place(tmp_path).parent.iterdir()] == [".start.pth.lock"]
