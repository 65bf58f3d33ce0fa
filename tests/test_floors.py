"""A module imports only from floors below it; no file outgrows its room."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LIBRARY = REPOSITORY / "src" / "supcon"
# from the ground up, as docs/ARCHITECTURE.md draws them; a room in another's folder belongs to that one's floor
ROOMS = [
    "errors", "arrays", "randomness", "environment", "storage", "metrics", "settings", "losses", "plots", "images",
    "decision", "competition", "run", "tracking", "training", "cluster", "bundle", "report", "study", "commands",
]  # fmt: skip


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_go_downwards(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "supcon":
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            for other in {name.split(".")[1] for name in names}:
                assert ROOMS.index(other) <= ROOMS.index(room), f"{room} -> {other}"


def test_no_module_imports_itself_by_way_of_others() -> None:
    modules = {".".join(path.relative_to(LIBRARY.parent).with_suffix("").parts): path for path in LIBRARY.rglob("*.py")}
    graph: dict[str, set[str]] = {}
    for name, path in modules.items():
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
        names = {f"{node.module}.{alias.name}" for node in nodes for alias in node.names}
        graph[name] = modules.keys() & (names | {str(node.module) for node in nodes})
    TopologicalSorter(graph).prepare()  # raises where there is a circle


def test_no_stage_calls_another() -> None:
    paths = set((REPOSITORY / "src").glob("*.py"))
    stages = {path.stem for path in paths}
    for path in {*paths, *LIBRARY.rglob("*.py")}:
        for node in ast.walk(ast.parse(path.read_text())):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not stages & set(names), path


@pytest.mark.parametrize("part", ["src", "tests", "benchmarks"])
def test_no_room_outgrows_three_hundred_lines(part: str) -> None:
    paths = list((REPOSITORY / part).rglob("*.py"))
    assert paths
    for path in paths:
        assert len(path.read_text().splitlines()) <= 300, path
