"""What each of the two processes of test_nproc.py does: stages, one after another, as `--nproc 2` would run them.

PYTHONPATH=src python -m torch.distributed.run --standalone --nproc-per-node 2 tests/stages/two_processes.py CALLS
(CALLS: the JSON of a list of [stage, [flags]])
"""

import importlib
import json
import sys
import time
from collections.abc import Sequence
from typing import Any

from supcon.cluster.launch import run_stage
from supcon.run.stage import StageRun


def finish_late(stage: StageRun, started: float, finish: Any = StageRun.finish, **facts: Any) -> None:
    """Finish as `StageRun` does, a while after the other process has: what is next there must wait for it."""
    time.sleep(0.3)
    finish(stage, started, **facts)


def main(argv: Sequence[str] | None = None) -> None:
    StageRun.finish = finish_late  # type: ignore[method-assign, assignment]
    for stage, flags in json.loads(sys.argv[1]):
        importlib.import_module(stage).main(flags)


if __name__ == "__main__":
    run_stage(main)
