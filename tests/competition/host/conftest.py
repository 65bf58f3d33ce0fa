"""The fake client on PATH, and nothing else there."""

from pathlib import Path

import pytest

from tests.competition.host.fake import FakeClient, install_fake


@pytest.fixture
def kaggle(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> FakeClient:
    """The fake client, alone on PATH, with no submissions yet."""
    fake = install_fake(tmp_path_factory.mktemp("kaggle"))
    monkeypatch.setenv("PATH", str(fake.place / "bin"))
    fake.plays("submissions", "No submissions found\n")
    return fake


@pytest.fixture
def no_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither PATH nor the interpreter's folder has a client."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("sys.executable", str(tmp_path / "my own" / "python"))
