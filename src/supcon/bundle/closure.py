"""Which files of the library a module needs: its imports followed."""

import ast
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1]


def needed_modules(entry: str, library: Path = LIBRARY) -> list[Path]:
    """Return the files of `entry` (such as "bundle/infer.py") and of all that it imports, relative to `library`.

    Imports count wherever they stand in a file. Each must name a module, not a folder: in a bundle the folders'
    `__init__.py` hold nothing but their docstring. Raises `ValueError` for one that does not.
    """
    found: list[Path] = []
    waiting = [Path(entry)]
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
