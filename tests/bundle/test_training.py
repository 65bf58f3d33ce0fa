"""The notebook that trains on the host: from attached files alone, without a network, to the bytes of a run here."""

import errno
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from supcon.bundle.training import NOTEBOOK
from supcon.commands import notebook
from supcon.competition.own_work import slug
from supcon.errors import UserError
from supcon.run.stage import write_resolved
from supcon.settings import parse
from supcon.training.model.timm_import import timm
from tests.attacks.attack import permitted
from tests.conftest import REPOSITORY, TINY, run_all, write_competition

FLAGS = ["--config", str(REPOSITORY / "configs" / "cross_entropy.yaml"), *TINY, "--run=far"]
HOST = ["--competition=seeds", "--owner=someone"]
RUNNER = """
import json, sys
for number, cell in enumerate(json.load(open(sys.argv[1]))["cells"]):
    if cell["cell_type"] == "code":
        exec(compile(cell["source"], f"cell {number}", "exec"), globals())
"""


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A root with a competition, the notebook for it, and a finished run of the same settings."""
    root = tmp_path_factory.mktemp("written")
    write_competition(root / "input", ["red"] * 30 + ["NA"] * 20 + ["001"] * 10)
    (root / "input" / "solution.csv").unlink()
    weights = root / "start.pth"
    import torch

    torch.manual_seed(3)
    torch.save(timm.create_model("test_resnet").state_dict(), weights)
    flags = ["--model.pretrained=true", f"--model.weights={weights}"]
    notebook.main(["--root", str(root), *FLAGS, *HOST, *flags])
    run_all(root, *flags, "--run=far")
    return root


def attach(root: Path, host: Path) -> Path:
    """Lay the files out as the host does; return the folder of what is attached."""
    mounted, folder = host / "input", root / "submissions" / "notebook"
    shutil.copytree(folder / "code", mounted / "datasets" / "someone" / "called-otherwise")
    (mounted / "datasets" / "someone" / "another" / "supcon").mkdir(parents=True)
    (mounted / "datasets" / "someone" / "another" / "supcon" / "run.sh").touch()  # of another run
    shutil.copytree(root / "input", mounted / "competitions" / "seeds")
    return mounted


def executed(written: Path, host: Path, work: str, seconds: float = 3600) -> "subprocess.CompletedProcess[str]":
    """Run all cells in a folder, as the host does, with the network off where that can be done."""
    content = (written / "submissions" / "notebook" / NOTEBOOK).read_text()
    (host / work).mkdir()
    for old, new in (("/kaggle/input", host / "input"), ("/kaggle/working", host / work)):
        content = content.replace(old, str(new))
    changed = content.replace("LIMIT, SECONDS = '11h', 39600 ", f"LIMIT, SECONDS = 'a while', {seconds} ")
    assert changed != content
    (host / NOTEBOOK).write_text(changed)
    offline = ["unshare", "-n"] if permitted("unshare -n true")() else []
    variables = {name: value for name, value in os.environ.items() if not name.startswith("SUPCON_")}
    words = [*offline, sys.executable, "-c", RUNNER, str(host / NOTEBOOK)]
    return subprocess.run(words, cwd=host, env=variables, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_it_writes_the_submission_of_a_run_here_and_goes_on_from_its_own_output(written: Path, tmp_path: Path) -> None:
    mounted = attach(written, tmp_path)
    for seconds in (8, 16, 32):  # of which one is enough to begin, and not to end, on machines fast and slow
        first = executed(written, tmp_path, f"first{seconds}", seconds)
        assert first.returncode == 0, first.stdout + first.stderr
        there = tmp_path / f"first{seconds}"
        if (there / "runs" / "far").exists():
            break
    assert "not done after a while: attach this version's output" in first.stdout
    assert not (there / "submission.csv").exists()
    shutil.copytree(there, mounted / "my-output", symlinks=True)
    second = executed(written, tmp_path, "second")
    assert second.returncode == 0, second.stdout + second.stderr
    assert "runs/ of an earlier version: it goes on from there" in second.stdout
    there = tmp_path / "second"
    assert (there / "submission.csv").read_bytes() == (written / "submissions" / "submission.csv").read_bytes()
    assert "<html" in (there / "report.html").read_text()
    assert (there / "cache").resolve().parent != there  # no output
    assert not any(path.suffix == ".pyc" for path in mounted.rglob("*"))


@pytest.mark.slow
def test_what_is_not_attached_is_named(written: Path, tmp_path: Path) -> None:
    result = executed(written, tmp_path, "work")
    assert result.returncode == 1
    assert "error: supcon-far-code is not attached: add it to the notebook's input" in result.stderr


def test_what_is_attached_is_named_in_the_hosts_own_words(written: Path) -> None:
    folder = written / "submissions" / "notebook"
    kernel = json.loads((folder / "kernel-metadata.json").read_text())
    assert {key: kernel[key] for key in ("id", "dataset_sources", "competition_sources", "kernel_sources")} == {
        "id": "someone/supcon-far-train",
        "dataset_sources": ["someone/supcon-far-code"],
        "competition_sources": ["seeds"],
        "kernel_sources": [],
    }
    assert (kernel["enable_gpu"], kernel["enable_internet"], kernel["is_private"]) == (True, False, True)
    dataset = json.loads((folder / "code" / "dataset-metadata.json").read_text())
    assert dataset["id"] == "someone/supcon-far-code"
    for metadata in (kernel, dataset):  # else the host makes another name of it
        assert metadata["title"].replace(" ", "-") == metadata["id"].split("/")[1]
    packages = folder / "code" / "packages"
    assert (packages / "jsonargparse" / "__init__.py").is_file()
    assert not [path for path in packages.rglob("*") if path.suffix in (".so", ".pyc")]
    assert (folder / "code" / "weights" / "start.pth").is_file()


def settings_of(root: Path) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(
        (root / "submissions" / "notebook" / "code" / "settings" / "far.yaml").read_text()
    )
    return content


def test_settings_go_with_it_but_for_what_was_chosen_for_this_machine(root: Path) -> None:
    plain = [flag for flag in FLAGS if "precision" not in flag]
    write_resolved(parse("", ["--root", str(root), *plain, "--track=wandb"]))
    notebook.main(["--root", str(root), *plain, *HOST, "--finetune.lr=0.02", "--cpu", "--goes_on", "--limit=90m"])
    settings = settings_of(root)
    assert settings["finetune"]["lr"] == 0.02
    assert settings["data"]["folds"] == 3
    assert "precision" not in settings.get("train", {})
    assert "track" not in settings
    kernel = json.loads((root / "submissions" / "notebook" / "kernel-metadata.json").read_text())
    assert (kernel["kernel_sources"], kernel["enable_gpu"]) == (["someone/supcon-far-train"], False)
    assert "LIMIT, SECONDS = '90m', 5400 " in (root / "submissions" / "notebook" / NOTEBOOK).read_text()
    notebook.main(["--root", str(root), *plain, *HOST, "--train.precision=float16", "--track=mlflow"])
    settings = settings_of(root)
    assert (settings["train"]["precision"], settings["track"]) == ("float16", "mlflow")


REFUSED = [
    (["--run=s", "--average.runs=[a,b]"], r"run s trains nothing: `\./run\.sh bundle --run s` packs its weights"),
    (["--limit=13h"], r"--limit 13h: a notebook of the host runs up to 12h: write less, such as 11h"),
    (["--limit=soon"], "--limit soon: write it as 2h, 90m or 1h30m"),
    (["--time_budget=soon"], "--time_budget soon: write it as"),
    (["--time_budget=8h", "--finetune.epochs=3"], r"--time_budget chooses the epochs: leave out --\w+\.epochs"),
    (["--pseudo.run=one"], "--pseudo.run one: that run is not on the host: train the second round here"),
    (["--tune.runs=[one, two]"], "run far blends one, two, which are not on the host: name a --run"),
    (["--tune.storage=sqlite:///t.db"], "--tune.storage sqlite:///t.db is not on the host: leave it out"),
    (["--model.pretrained=true", "--model.weights=/nowhere/w.pth"], "^--model.weights /nowhere/w.pth: no such file$"),
    (["--model.pretrained=true", f"--model.weights={__file__}"], f"{__file__} is damaged, or no file of PyTorch"),
]


@pytest.mark.parametrize(("flags", "message"), REFUSED)
def test_what_cannot_be_is_refused_in_a_line(root: Path, flags: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        notebook.main(["--root", str(root), *FLAGS, *HOST, *flags])
    assert not (root / "submissions" / "notebook").exists()


def test_an_encoder_that_learned_labels_of_this_competition_is_not_shipped(root: Path) -> None:
    own = root / "runs" / "one" / "fold0" / "encoder.safetensors"
    with pytest.raises(UserError, match="this encoder learned labels that other folds are scored on"):
        notebook.main(["--root", str(root), *FLAGS, *HOST, "--model.pretrained=true", f"--model.weights={own}"])


def test_only_what_an_earlier_call_wrote_is_replaced(root: Path, written: Path) -> None:
    flags = ["--root", str(root), *FLAGS, *HOST]
    notebook.main([*flags, "--model.pretrained=true", f"--model.weights={written / 'start.pth'}"])
    folder = root / "submissions" / "notebook"
    before = {path: path.stat().st_ino for path in folder.iterdir()}
    for path in (folder / "notes.txt", folder / "code" / "more" / "table.csv"):
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
    notebook.main(flags)
    assert (folder / "notes.txt").read_text() == (folder / "code" / "more" / "table.csv").read_text() == "mine"
    assert {path.name for path in folder.iterdir()} == {path.name for path in before} | {"notes.txt"}
    assert not (folder / "code" / "weights").exists()  # of the run that was there
    assert (folder / NOTEBOOK).stat().st_ino != before[folder / NOTEBOOK]


def test_what_was_written_before_stays_where_a_second_call_fails(root: Path) -> None:
    notebook.main(["--root", str(root), *FLAGS, *HOST])
    with pytest.raises(UserError, match="nowhere"):
        notebook.main(["--root", str(root), *FLAGS, *HOST, "--model.pretrained=true", "--model.weights=/nowhere/w.pth"])
    assert (root / "submissions" / "notebook" / NOTEBOOK).is_file()
    with pytest.raises(UserError, match="--owner 'a b/c' is no account's name"):
        notebook.main(["--root", str(root), *FLAGS, *HOST, "--owner=a b/c"])


@pytest.mark.parametrize("fails", ["copyfile", "copytree", "write"])
def test_a_full_disk_is_a_line_on_the_folder_that_the_user_knows(
    fails: str, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "/inside/.new/x")

    def fail(*_: object, **__: object) -> None:
        raise shutil.Error([("from", "to", "No space left on device")]) if fails == "copytree" else full

    if fails == "write":
        monkeypatch.setattr("os.fsync", fail)
    else:
        monkeypatch.setattr(shutil, fails, fail)
    with pytest.raises(
        UserError, match=rf"^{root}/submissions/notebook.* could not be written.*No space left"
    ) as caught:
        notebook.main(["--root", str(root), *FLAGS, *HOST])
    assert ".new" not in str(caught.value)
    assert not (root / "submissions" / "notebook").exists()


def test_the_commands_that_are_printed_are_what_a_shell_reads(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    blanks = root / "my roots" / "a"
    shutil.copytree(root / "input", blanks / "input")
    notebook.main(["--root", str(blanks), *FLAGS, *HOST])
    commands = [shlex.split(line, comments=True) for line in capsys.readouterr().out.splitlines() if "kaggle " in line]
    folder = str(blanks / "submissions" / "notebook")
    assert [words[words.index("-p") + 1] for words in commands] == [f"{folder}/code", folder]


def test_parts_of_runs_have_names_of_their_own_that_the_host_takes() -> None:
    runs = ["far", "Far", "a.b", "a-b", "_", "\u00e9t\u00e9", "x" * 60, "x" * 61]
    names = [slug(run, part) for run in runs for part in ("train", "code", "bundle", "predict")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name) and len(name) <= 50 for name in names)
    assert slug("far", "train") == "supcon-far-train"
