"""A module imports only from floors below it; no file outgrows its room."""

import ast
from pathlib import Path

import pytest

from tests.conftest import REPOSITORY

LIBRARY = REPOSITORY / "src" / "supcon"
FLOORS: list[set[str]] = [
    {"errors", "exact", "job", "processes", "randomness", "candidates"},
    {"config", "losses", "sampler", "metrics"},
    {"artifacts"},
    {"competition", "images", "augment", "views", "model", "decision", "host", "plots"},
    {"split"},
    {"experiment", "survey", "budget"},
    {"data", "predictions", "precision"},
    {"runs", "pseudo"},
    {"scores", "engine"},
    {"bundle", "corruptions", "study"},
    {"report"},
    {"compare"},
]
FLOOR_OF = {room: floor for floor, rooms in enumerate(FLOORS) for room in rooms}
# augment, views and model stand on images and artifacts; within a floor only these look at each other
WITHIN = {("augment", "images"), ("views", "images"), ("competition", "images"), ("sampler", "randomness")}


def room_of(path: Path) -> str:
    return path.relative_to(LIBRARY).parts[0].removesuffix(".py")


@pytest.mark.parametrize("path", sorted(LIBRARY.rglob("*.py")), ids=lambda path: str(path.relative_to(LIBRARY)))
def test_imports_go_downwards(path: Path) -> None:
    room = room_of(path)
    if room == "__init__":
        return
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("supcon."):
            other = (node.module or "").split(".")[1]
            assert other == room or FLOOR_OF[other] < FLOOR_OF[room] or (room, other) in WITHIN, f"{room} -> {other}"


CONDUCTORS = {"study"}  # no stage of the pipeline: it runs stages, many times over, in one process


def test_no_stage_calls_another() -> None:
    paths = set((REPOSITORY / "src").glob("*.py"))
    stages = {path.stem for path in paths}
    for path in {*paths, *LIBRARY.rglob("*.py")}:
        if path.stem in CONDUCTORS and path in paths:
            continue
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
