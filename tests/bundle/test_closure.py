"""Inference stands on a few packages that every notebook's host has, and its code is found whole."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from supcon.bundle.code import ENTRY, LIBRARY, docstring_of, imported, modules_of, needed_modules
from supcon.bundle.formats import FORMATS
from tests.bundle.offline import ALLOWED

NEEDED = modules_of("torch")


@pytest.mark.parametrize(("format", "path"), [(format, path) for format in FORMATS for path in modules_of(format)])
def test_a_module_of_the_bundle_imports_what_every_host_has(format: str, path: Path) -> None:
    names = {name.split(".")[0] for name in imported(LIBRARY / path)}
    assert names <= ALLOWED[format] | sys.stdlib_module_names | {"PIL"}


def test_torch_and_its_like_are_needed_by_the_code_for_torch_alone() -> None:
    names = {name.split(".")[0] for path in needed_modules(ENTRY) for name in imported(LIBRARY / path)}
    assert not names & {"torch", "timm", "safetensors", "onnxruntime", "openvino"}


def test_pillow_is_imported_for_the_images_that_need_it_alone() -> None:
    loaded, waiting = set[Path](), [Path(ENTRY)]
    while waiting:
        path = waiting.pop()
        names = imported_on_load(LIBRARY / path)
        assert not [name for name in names if name.split(".")[0] == "PIL"], path
        loaded.add(path)
        waiting += {file_of(name) for name in names if name.startswith("supcon.")} - loaded
    assert loaded <= set(NEEDED)


def imported_on_load(path: Path) -> list[str]:
    """Return the modules that a file imports as soon as it is imported itself."""

    def outside_functions(node: ast.AST) -> Iterator[ast.AST]:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, ast.FunctionDef):
                yield child
                yield from outside_functions(child)

    nodes = list(outside_functions(ast.parse(path.read_text())))
    names = [alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    return names + [node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)]


def file_of(module: str) -> Path:
    return Path(*module.split(".")[1:]).with_suffix(".py")


def test_the_modules_are_closed_under_imports() -> None:
    for path in NEEDED:
        ours = [name for name in imported(LIBRARY / path) if name.startswith("supcon.")]
        assert {file_of(name) for name in ours} <= set(NEEDED), path
    assert Path("training/model/encoder.py") in NEEDED
    trains = ("losses/contrastive.py", "training/sampler.py", "training/data.py", "images/augment/recipes.py", "study")
    assert not [path for path in NEEDED if str(path).startswith(trains)]


def test_an_import_that_is_no_module_is_refused(tmp_path: Path) -> None:
    library = tmp_path / "supcon"
    (library / "room").mkdir(parents=True)
    (library / "room" / "__init__.py").write_text('"""A room."""\n\nthing = 1\n')
    (library / "entry.py").write_text("import json\n\nfrom supcon.room import thing\n")
    with pytest.raises(ValueError, match=r"entry\.py imports supcon\.room"):
        needed_modules("entry.py", library=library)
    assert docstring_of(library / "room" / "__init__.py") == '"""A room."""\n'
