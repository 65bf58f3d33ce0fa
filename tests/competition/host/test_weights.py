"""Weights from the host: fetched once, whole or not at all, and the same as the file itself to every stage."""

import subprocess
import sys
import zipfile
from io import BytesIO
from pathlib import Path

import pytest
import torch
import yaml

from supcon.commands import download
from supcon.competition import fetch
from supcon.errors import UserError
from supcon.settings import Request, open_request
from supcon.training.model.timm_import import timm
from tests.competition.host.fake import FakeClient
from tests.conftest import run_stage

NAME = "kaggle:someone/birds-1/nets/start.pth"
SHORT = ["--model.pretrained=true", "--pretrain.epochs=1", "--fold=0"]


@pytest.fixture
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of weights."""
    path = tmp_path_factory.mktemp("local") / "mine.pth"
    torch.save(timm.create_model("test_resnet").state_dict(), path)
    return path


def place(root: Path) -> Path:
    return root / "cache" / "weights" / "someone" / "birds-1" / "nets" / "start.pth"


def zipped(content: bytes, name: str) -> bytes:
    buffer = BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(name, content)
    return buffer.getvalue()


def request_weights(root: Path) -> Path:
    return fetch.require_weights(asked(root, NAME))


def asked(root: Path, weights: str) -> Request:
    return open_request(root, given={"model.pretrained": True, "model.weights": weights})


def test_a_run_fetches_them_once_and_goes_on_with_the_file_itself(
    root: Path, kaggle: FakeClient, start: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle.plays("download", start.read_bytes())
    run_stage("make_folds", root)
    run_stage("pretrain", root, *SHORT, f"--model.weights={NAME}")
    assert f"{NAME}: fetching it from the host, once, into {place(root).parent}" in capsys.readouterr().out
    words = ["datasets", "download", "someone/birds-1", "--file=nets/start.pth"]
    assert [(call[:4], call[5:]) for call in kaggle.calls] == [(words, ["--quiet"])]
    kept = yaml.safe_load((root / "runs" / "cross_entropy" / "resolved.yaml").read_text())
    assert kept["settings"]["model"]["weights"] == NAME
    monkeypatch.setenv("PATH", "")
    for flags in ([], [f"--model.weights={NAME}"], [f"--model.weights={start}"], [f"--model.weights={place(root)}"]):
        run_stage("pretrain", root, *SHORT, *flags)
        assert "pretrain fold 0: done already" in capsys.readouterr().out
    with start.open("ab") as file:
        file.write(b" ")
    with pytest.raises(UserError, match=r"made otherwise: --model\.weights changed"):
        run_stage("pretrain", root, *SHORT, f"--model.weights={start}")


def test_doctor_fetches_them_once_to_try_the_encoder_and_to_time_a_run(
    root: Path, kaggle: FakeClient, start: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle.plays("download", start.read_bytes())
    for flags in (["--quick"], []):
        run_stage("doctor", root, *SHORT[:2], f"--model.weights={NAME}", *flags)
        assert "start.pth: all" in capsys.readouterr().out
    assert len(kaggle.calls) == 1
    kaggle.plays("download", b"no weights")
    with pytest.raises(UserError, match=r"other\.pth is damaged, or no file of PyTorch"):
        run_stage("doctor", root, "--quick", SHORT[0], "--model.weights=kaggle:someone/birds-1/other.pth")


def test_they_go_with_the_notebook_that_trains_on_the_host(root: Path, kaggle: FakeClient, start: Path) -> None:
    kaggle.plays("download", start.read_bytes())
    run_stage("notebook", root, SHORT[0], f"--model.weights={NAME}", "--competition=seeds", "--owner=someone")
    code = root / "submissions" / "notebook" / "code"
    assert (code / "weights" / "start.pth").read_bytes() == start.read_bytes()
    assert "weights" not in (code / "settings" / "cross_entropy.yaml").read_text()


@pytest.mark.parametrize("name", ["start.pth", "nets/start.pth"])
def test_a_zip_that_the_host_puts_around_them_is_unpacked(
    name: str, tmp_path: Path, kaggle: FakeClient, start: Path
) -> None:
    kaggle.plays("download", zipped(start.read_bytes(), name))
    assert request_weights(tmp_path).read_bytes() == start.read_bytes()
    assert {path.name for path in place(tmp_path).parent.iterdir()} == {"start.pth", ".start.pth.lock"}


@pytest.mark.parametrize("layout", ["birds-1", "datasets/someone/birds-1"])
def test_on_the_host_they_are_taken_from_what_is_attached(
    layout: str, tmp_path: Path, start: Path, kaggle: FakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fetch, "MOUNTED", tmp_path / "mounted")
    attached = tmp_path / "mounted" / layout / "nets" / "start.pth"
    attached.parent.mkdir(parents=True)
    attached.write_bytes(start.read_bytes())
    assert request_weights(tmp_path).resolve() == attached
    attached.unlink()  # as elsewhere, with a cache that was copied
    kaggle.plays("download", start.read_bytes())
    assert not request_weights(tmp_path).is_symlink()


WRONG = ["kaggle:", "kaggle:a", "kaggle:a/b", "kaggle:a/b/", "kaggle:a/b/../c", "kaggle://a/b/c", "kaggle:a b/c/d"]


@pytest.mark.parametrize("name", [*WRONG, f"kaggle:a/b/{'x' * 300}", "kaggle:a/b/c\0", "kaggle:a/b/c\\d"])
def test_a_name_that_can_be_none_is_refused(name: str, tmp_path: Path, kaggle: FakeClient) -> None:
    for words in (["--weights", name], ["--weights", name, "seeds"]):
        with pytest.raises(UserError, match="names no file of the host: write kaggle:OWNER/DATASET/FILE"):
            download.main(["--root", str(tmp_path), *words])
    with pytest.raises(UserError, match="names no file of the host: write kaggle:OWNER/DATASET/FILE"):
        asked(tmp_path, name)
    assert kaggle.calls == []


DENIED = "Permission 'datasets.get' was denied"
UNKNOWN = r"no such file, or does not show it .*www\.kaggle\.com/datasets/someone/birds-1$"


@pytest.mark.parametrize(
    ("output", "status", "message"),
    [
        (DENIED, 1, UNKNOWN),
        ("404 Client Error: Not Found for url: https://x.com", 1, UNKNOWN),
        ("Could not find kaggle.json", 1, "no valid login: run `kaggle auth login`"),
        ("", 0, "the client did not leave the file: try again"),
        ("", 1, "exit status 1: it printed nothing"),
    ],
)
def test_what_cannot_be_fetched_is_one_line_and_leaves_nothing(
    output: str, status: int, message: str, tmp_path: Path, kaggle: FakeClient
) -> None:
    kaggle.plays("download", ("", output, status))
    with pytest.raises(UserError, match=f"^{NAME}: .*{message}") as caught:
        request_weights(tmp_path)
    assert "\n" not in str(caught.value)
    assert [path.name for path in place(tmp_path).parent.iterdir()] == [".start.pth.lock"]


def test_a_damaged_zip_is_fetched_anew(tmp_path: Path, kaggle: FakeClient, start: Path) -> None:
    whole = zipped(start.read_bytes(), "start.pth")
    kaggle.plays("download", whole[:1000] + b"damage" + whole[1006:], whole)
    with pytest.raises(UserError, match="what the host sent is damaged: try again"):
        request_weights(tmp_path)
    assert not place(tmp_path).exists()
    assert request_weights(tmp_path).read_bytes() == start.read_bytes()


@pytest.mark.usefixtures("no_client")
def test_without_the_client_the_command_that_installs_it_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"^{NAME}: the host's client is not installed: .* requirements-kaggle\.txt"):
        request_weights(tmp_path)
    with pytest.raises(UserError, match=r"--model\.weights /nowhere/x\.pth: no such file"):
        fetch.require_weights(asked(tmp_path, "/nowhere/x.pth"))


def test_download_fetches_them_and_says_where_they_are(
    tmp_path: Path, kaggle: FakeClient, capsys: pytest.CaptureFixture[str]
) -> None:
    kaggle.plays("download", b"weights")
    for said in ("(7 bytes)", "(7 bytes, there already: delete it to fetch it anew)"):
        download.main(["--root", str(tmp_path), "--weights", NAME])
        assert f"download: {place(tmp_path)} {said}" in capsys.readouterr().out
    with pytest.raises(UserError, match="nothing is named: name a competition, or a file with --weights"):
        download.main(["--root", str(tmp_path)])


def test_two_processes_that_need_them_fetch_them_once(tmp_path: Path, kaggle: FakeClient) -> None:
    kaggle.plays("download", b"weights")
    words = [sys.executable, "-m", "supcon.commands.download", "--root", str(tmp_path), "--weights", NAME]
    both = [subprocess.Popen(words, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = "".join(process.communicate()[0] for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert said.count("fetching it from the host") == 1
    assert len(kaggle.calls) == 1
