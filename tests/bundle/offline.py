"""Run a notebook's code cells, in order and in one namespace, where there is no network and little to import.

python -I offline.py NOTEBOOK FORMAT, in the folder to work in. What a notebook's own code and the library in its bundle
import must be the standard library, that library, or one of ALLOWED; Pillow only within a function, when an image needs
it. What other formats need is not there at all.
"""

import builtins
import json
import socket
import sys
import types
from collections.abc import Mapping, Sequence

OF_FORMAT = {"torch": {"torch", "timm", "safetensors"}, "onnx": {"onnxruntime"}, "openvino": {"openvino"}}
ALLOWED = {name: {"cv2", "numpy", "pandas", "supcon"} | packages for name, packages in OF_FORMAT.items()}
_import = builtins.__import__


class Unusable(socket.socket):
    """A network that is off."""

    def __init__(self, *_: object, **__: object) -> None:
        raise OSError("the network is off")


def guarded_import(
    name: str,
    globals: Mapping[str, object] | None = None,
    locals: Mapping[str, object] | None = None,
    fromlist: Sequence[str] | None = (),
    level: int = 0,
) -> types.ModuleType:
    """Import, but for our own modules only what a notebook's host has."""
    importer, top = str((globals or {}).get("__name__")), name.split(".")[0]
    ours = importer.split(".")[0] in ("notebook", "supcon")
    if ours and level == 0 and top not in ALLOWED[sys.argv[2]] | sys.stdlib_module_names and name != "PIL":
        raise AssertionError(f"{importer} imports {name}")
    return _import(name, globals, locals, fromlist, level)


def main(path: str) -> None:
    """Run the notebook at `path`."""
    with open(path, encoding="utf-8") as file:
        cells = [cell["source"] for cell in json.load(file)["cells"] if cell["cell_type"] == "code"]
    socket.socket = Unusable  # type: ignore[misc]
    builtins.__import__ = guarded_import
    for absent in set.union(*OF_FORMAT.values()) - OF_FORMAT[sys.argv[2]]:
        sys.modules[absent] = None  # type: ignore[assignment]
    namespace = {"__name__": "notebook"}
    for number, source in enumerate(cells):
        exec(compile(source, f"cell {number}", "exec"), namespace)


if __name__ == "__main__":
    main(sys.argv[1])
