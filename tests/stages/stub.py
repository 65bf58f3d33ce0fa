"""A stage that says where it ran, for tests of what runs stages."""

import argparse
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from supcon.errors import UserError


def main(argv: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--fold")
    parser.add_argument("--fails", default="")
    parser.add_argument("--dies", default="")
    parser.add_argument("--meets", type=int, default=0)
    options = parser.parse_args(argv)
    started = time.time()
    if options.fold == options.dies:
        os.kill(os.getpid(), signal.SIGKILL)
    if options.fold in options.fails.split():
        raise UserError("the loss is nan: lower the learning rate")
    (options.folder / f"{options.fold}.begun").touch()
    while len(list(options.folder.glob("*.begun"))) < options.meets:  # others, or it waits in vain
        time.sleep(0.02)
    seen: dict[str, object] = {
        name: os.environ.get(name) for name in ("SUPCON_CORES", "OMP_NUM_THREADS", "CUDA_VISIBLE_DEVICES")
    }
    seen |= {"process": os.getpid(), "started": started, "ended": time.time()}
    (options.folder / f"{options.fold}.json").write_text(json.dumps(seen))
