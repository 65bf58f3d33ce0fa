"""What the README and the guides tell a user to type is understood, and what they show is there."""

import dataclasses
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from supcon.commands import bundle, check, compare, doctor, download, fewshot, ledger, notebook, report, study, submit
from supcon.run.stages import STAGE
from supcon.settings import Settings, parse
from supcon.settings.parse import parse_options
from supcon.settings.sources import flatten
from supcon.study.read import read_study
from tests.conftest import REPOSITORY
from tests.test_floors import ROOMS
from tests.test_run_sh import commands_of_the_script

HISTORY = {"CHANGELOG.md", "LOG.md"}  # which name what is no more
PAGES = {
    path.name: path.read_text()
    for path in (REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *sorted((REPOSITORY / "docs").glob("*.md")))
}
PRESENT = {name: text for name, text in PAGES.items() if name not in HISTORY}
READERS: dict[str, Callable[[list[str]], object]] = {  # of the commands with options of their own
    "ledger": ledger.read_options,
    "compare": compare.read_options,
    "fewshot": fewshot.read_options,
    "submit": submit.read_request,
    "bundle": partial(parse, "", add_options=bundle.add_options),
    "notebook": partial(parse, "", add_options=notebook.add_options),
    "download": lambda words: parse_options("", words, download.add_options, ""),
    **{
        name: partial(parse, "", add_options=page.add_options, tasks=True)
        for name, page in {"report": report, "check": check, "doctor": doctor, "all": doctor}.items()
    },
}
COMMANDS = sorted(
    {found for text in PRESENT.values() for found in re.findall(r"(?:\./run\.sh |python src/\w+\.py)[^\n`#;|]*", text)}
)
CODE = [
    pytest.param(code, id=f"{name}-{number}")
    for name, text in PAGES.items()
    for number, code in enumerate(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
]
CHECKS = {  # what a block draws, by a name that it defines
    "tsne": "assert len(curves.axes) == 2\n"
    "assert len(tsne.axes[0].collections) == 2 * 4\n"  # training and held-out rows of three classes, test rows
}


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_understood(command: str, tmp_path: Path) -> None:
    words = [word for word in shlex.split(command) if not word.startswith("$")]
    if words[0] == "python":
        assert (REPOSITORY / words[1]).exists()
        name = Path(words[1]).stem
    else:
        name = words[1]
        assert name in commands_of_the_script()
        if len(words) == 2:  # a command's name in a sentence
            return
    flags = [word for word in words[2:] if word != "--help"]
    if name == "study":
        options, settings = study.read_options(flags)
        config = read_study(options.file, options.run).config
        flags = [f"--config={config}", *(f"--{key}={value}" for key, value in settings.items())]
    flags = ["--root", str(tmp_path), *flags]
    if name in READERS:
        READERS[name](flags)
    else:
        folds = name in STAGE and STAGE[name].per_fold
        parse(
            "",
            flags,
            per_fold=folds,
            blends=name in ("tune", "ensemble", "soup", "predict"),
            tasks=folds or name == "tune",
        )


def test_the_commands_were_found() -> None:
    assert len(COMMANDS) >= 30


@pytest.mark.parametrize("code", CODE)
def test_every_block_of_python_runs_as_it_stands(code: str, finished: Path, tmp_path: Path) -> None:
    shutil.copytree(finished / "runs" / "cross_entropy", tmp_path / "runs" / "demo")
    shutil.copytree(finished / "folds", tmp_path / "folds")
    for name, assertion in CHECKS.items():
        code += assertion if f"\n{name} = " in code else ""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=os.environ, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_study_that_is_shown_can_be_played(tmp_path: Path) -> None:
    path = tmp_path / "shown.yaml"
    path.write_text(PAGES["studies.md"].split("```yaml\n")[1].split("```")[0])
    shown = read_study(str(path), "")
    for variant in shown.variants.values():
        parse("", ["--root", str(tmp_path), *(f"--{key}={value}" for key, value in variant.items())])


def test_links_lead_somewhere() -> None:
    for name, text in PAGES.items():
        folder = REPOSITORY if name in ("README.md", "CONTRIBUTING.md") else REPOSITORY / "docs"
        for target in re.findall(r"\]\(([^)]+)\)", text):
            path, _, heading = target.partition("#")
            other = (folder / path) if path else folder / name
            assert other.exists(), f"{name}: {target}"
            assert not heading or heading in slugs(other.read_text()), f"{name}: {target}"


def slugs(text: str) -> set[str]:
    """Return what links call the headings of a page."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", prose, re.M)
    return {re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in titles}


def test_the_readme_is_a_page() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 150


def test_its_tree_is_there() -> None:
    tree = PAGES["README.md"].split("## The tree")[1].split("```")[1]
    names = set(re.findall(r"^(?:[\w./-]+/|[\w.-]+\.\w+)", tree, re.M)) | set(re.findall(r"^\w+/ +(\w+/)", tree, re.M))
    assert {"src/", "studies/", "run.sh"} <= names
    assert all((REPOSITORY / name).exists() for name in names - {"runs/", "cache/"})


def test_every_room_has_its_line_from_the_top_down() -> None:
    table = PAGES["ARCHITECTURE.md"].split("## The rooms")[1].split("\n## ")[0]
    assert re.findall(r"^\| `(\w+)` \|", table, re.M) == ROOMS[::-1]


@pytest.mark.parametrize("name", sorted(PRESENT))
def test_every_file_setting_and_function_that_a_page_names_exists(name: str) -> None:
    for path in re.findall(r"\b((?:src|tests|benchmarks|configs|studies)/[a-z][\w/.-]*\w)", PRESENT[name]):
        assert (REPOSITORY / path).exists(), path
    settings = flatten(dataclasses.asdict(Settings()))
    sections = {key.partition(".")[0] for key in settings}
    for words in re.findall(r"`([^`\n]+)`", PRESENT[name]):
        key = words.removeprefix("--").partition(" ")[0]
        if (
            key.partition(".")[0] in sections
            and re.fullmatch(r"\w+\.\w+", key)
            and not key.endswith((".csv", ".ipynb"))
        ):
            assert key in settings, key
    source = "\n".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    for function in re.findall(r"`([\w.]+)\(", PRESENT[name]):
        assert f"def {function.rpartition('.')[2]}(" in source, function


def test_the_laws_that_the_code_cites_are_told() -> None:
    laws = PAGES["ARCHITECTURE.md"].split("## The laws")[1].split("\n## ")[0]
    told = set(re.findall(r"^(\d+)\. \*\*", laws, re.M))
    source = "\n".join(path.read_text() for path in (REPOSITORY / "src").rglob("*.py"))
    assert set(re.findall(r"[Ll]aw (\d+)", source)) <= told


def test_ruff_is_the_same_before_a_commit_and_in_the_tests() -> None:
    wanted = re.findall(r"^ruff==(\S+)", (REPOSITORY / "requirements-dev.txt").read_text(), re.M)
    assert re.findall(r"rev: v(\S+)", (REPOSITORY / ".pre-commit-config.yaml").read_text()) == wanted
