"""What the README tells a user to type is understood, and what it shows is there."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from supcon.commands import check, compare, doctor, download, ledger, report, study, submit
from supcon.run.stages import STAGE
from supcon.settings import parse
from supcon.study.read import read_study
from tests.conftest import REPOSITORY
from tests.test_run_sh import commands_of_the_script

README = (REPOSITORY / "README.md").read_text()
OF_THEIR_OWN: dict[str, Callable[[list[str]], object]] = {
    "ledger": ledger.read_options,
    "download": download.read_options,
    "compare": compare.read_options,
    "submit": submit.read_call,
}
ADD_OPTIONS = {"doctor": doctor.add_options, "check": check.add_options, "report": report.add_options}
COMMANDS = sorted(set(re.findall(r"(?:\./run\.sh|python src/\w+\.py)[^\n`#;]*", README)))


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str, tmp_path: Path) -> None:
    words = shlex.split(command)
    if words[0] == "python":
        assert (REPOSITORY / words[1]).exists()
        name = Path(words[1]).stem
    else:
        name = words[1]
        assert name in commands_of_the_script()
    flags = ["--root", str(tmp_path), *(word for word in words[2:] if word != "--help")]
    if "--jobs" in flags:  # run.sh's own
        place = flags.index("--jobs")
        del flags[place : place + 2]
    if name == "study":
        options, settings = study.read_options(flags)
        config = read_study(options.file, options.run).config
        flags = [
            "--root",
            str(tmp_path),
            f"--config={config}",
            *(f"--{key}={value}" for key, value in settings.items()),
        ]
    if name in OF_THEIR_OWN:
        OF_THEIR_OWN[name](flags)
        return
    stage = STAGE.get(name)
    per_fold = stage is not None and stage.per_fold
    parse("", flags, ADD_OPTIONS.get(name, lambda _: None), per_fold=per_fold, blends=name in ("tune", "ensemble"))


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) >= 6


def test_the_tree_shows_every_room_of_the_library() -> None:
    tree = README.split("## The tree")[1]
    names = set(re.findall(r"^ {4}(\w+(?:\.py|/))", tree, re.M))
    library = REPOSITORY / "src" / "supcon"
    rooms = {path.name + "/" if path.is_dir() else path.name for path in library.iterdir() if path.name[0] != "_"}
    assert names == rooms


def test_what_it_shows_for_notebooks_draws_a_finished_runs_figures(
    finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = README.split("## In a notebook")[1].split("```")[1].removeprefix("python\n")
    monkeypatch.chdir(finished)
    shown: dict[str, Any] = {}
    exec(code.replace("demo", "cross_entropy").replace("range(5)", "range(3)"), shown)
    assert len(shown["curves"].axes) == 2
    assert len(shown["tsne"].axes[0].collections) == 2 * 4  # training and held-out rows of three classes, test rows


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)]+)\)", README):
        path, _, heading = target.partition("#")
        text = (REPOSITORY / path).read_text()
        titles = re.findall(r"^#+ (.+)$", text, re.M)
        slugs = [re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles]
        assert not heading or heading in slugs, target
