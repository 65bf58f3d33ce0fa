"""The part of this library that offline inference imports, found by its imports and copied into a bundle."""

import ast
import shutil
from pathlib import Path

from supcon.storage.files import write_text

LIBRARY = Path(__file__).resolve().parents[1]
ENTRY = "bundle/infer.py"  # what the notebook imports; the bundle's code is this and all that it imports


def add_code(folder: Path, format: str) -> None:
    """Copy the modules that inference needs; of each `__init__.py` only the docstring, without its imports."""
    for path in modules_of(format):
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(LIBRARY / path, target)
    for inner in {folder, *(path.parent for path in folder.rglob("*.py"))}:
        source = LIBRARY / inner.relative_to(folder) / "__init__.py"
        write_text(inner / "__init__.py", docstring_of(source))


def modules_of(format: str) -> list[Path]:
    """Return the files that inference in a format needs, relative to the library."""
    return needed_modules(ENTRY, f"bundle/on_{format}.py")


def needed_modules(*entries: str, library: Path = LIBRARY) -> list[Path]:
    """Return the files of `entries` (such as "bundle/infer.py") and of all that they import, relative to `library`.

    Imports count wherever they stand in a file. Each must name a module, not a folder: in a bundle the folders'
    `__init__.py` hold nothing but their docstring. Raises `ValueError` for one that does not.
    """
    found: list[Path] = []
    waiting = [Path(entry) for entry in entries]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        for name in imported(library / path):
            if name.split(".")[0] == library.name:
                module = Path(*name.split(".")[1:]).with_suffix(".py")
                if not (library / module).is_file():
                    raise ValueError(f"{path} imports {name}, which is no file below {library}")
                waiting.append(module)
    return sorted(found)


def imported(path: Path) -> list[str]:
    """Return the names of the modules that a file imports, in their order."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names.append(node.module or "")
    return names


def docstring_of(path: Path) -> str:
    """Return the source of a module that holds the docstring of the one at `path`, and nothing else."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return f'"""{docstring}"""\n'
