"""The machine of a GPU measurement; or, with --merge, the files of the parts of a measurement joined into one.

python benchmarks/gpu_machine.py --json machine.json
python benchmarks/gpu_machine.py --merge FOLDER --json gpu.json
"""

import argparse
import json
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("torch", "torchvision", "triton", "timm", "albumentations", "opencv-python-headless", "numpy")
ASKED = "name,driver_version,memory.total,power.limit,clocks.max.sm"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", help="cuda: fails where torch sees no GPU")
    parser.add_argument("--quick", action="store_true", help="as it is")
    parser.add_argument("--json", type=Path, help="also write it here")
    parser.add_argument("--merge", type=Path, help="put the JSON files of this folder into one instead")
    args = parser.parse_args()
    if args.merge:
        files = sorted(path for path in args.merge.glob("*.json") if path != args.json)
        content: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in files}
    else:
        content = machine(args.device)
        print(json.dumps(content, indent=1))
    if args.json:
        args.json.write_text(json.dumps(content, indent=1))


def machine(device: str) -> dict[str, Any]:
    """Return facts about the machine and the versions of the software."""
    import torch

    facts: dict[str, Any] = {"cores": os.cpu_count(), "python": platform.python_version(), "versions": versions()}
    if device == "cpu":
        return {"gpu": None, **facts}
    assert torch.cuda.is_available(), "torch sees no GPU"
    properties = torch.cuda.get_device_properties(0)
    smi = ["nvidia-smi", f"--query-gpu={ASKED}", "--format=csv,noheader"]
    values = subprocess.run(smi, capture_output=True, text=True, check=False).stdout.strip()
    return {
        "gpu": properties.name,
        "GiB": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "cuda": torch.version.cuda,
        "cudnn": torch.backends.cudnn.version(),
        ASKED: values,
        **facts,
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages; "missing" where one is not installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "missing"
    return installed


if __name__ == "__main__":
    main()
