"""Which of timm's encoders leave torch? python benchmarks/exports.py [NAME ...]

Those of benchmarks/encoders.py, without weights, are exported as `./run.sh bundle` does, to onnx and to openvino; in
float32 their logits must be within a thousandth of torch's. What is refused is so by its line, and the status is 1.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "src")]

from benchmarks import runtimes  # noqa: E402
from benchmarks.encoders import ENCODERS, said  # noqa: E402

from supcon.bundle.formats import FORMATS, Target  # noqa: E402
from supcon.bundle.judge import require_same  # noqa: E402
from supcon.errors import UserError  # noqa: E402

SIDES = (96, 224, 240)  # pixels: the first that an encoder takes


def main() -> None:
    """Print a row an encoder, each tried in a process of its own."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoders", nargs="*", metavar="NAME", help="(default: one of each family)")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)  # in the processes that this one starts
    options = parser.parse_args()
    if options.alone:
        print(tried(options.encoders[0]))
        return
    names, refused = options.encoders or ENCODERS.split(), 0
    print("| encoder | exported |\n|---|---|")
    for name in names:
        words = [sys.executable, __file__, name, "--alone"]
        cell = said(subprocess.run(words, capture_output=True, text=True, check=False))
        refused += not cell.startswith("at ")
        print(f"| {name} | {cell} |", flush=True)
    print(f"\n{len(names)} encoders, {refused} refused")
    sys.exit(refused > 0)


def tried(name: str) -> str:
    """Return at which size the encoder was exported to all formats, or what refuses it."""
    for side in SIDES:
        with tempfile.TemporaryDirectory() as folder:
            try:
                bundle = runtimes.bundled(name, Path(folder), argparse.Namespace(side=side, threads=1))
                for format in FORMATS[1:]:
                    require_same(bundle, runtimes.exported_bundle(bundle, Target(format, "float32")))
            except UserError as error:
                line = str(error)
                if "takes no images of" not in line and "could not make it" not in line:
                    return f"refused: {line}"
            else:
                return f"at {side} pixels"
    return f"refused: {line}"


if __name__ == "__main__":
    main()
