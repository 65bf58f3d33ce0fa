"""What each of the two processes of test_nproc.py does: stages, one after another, as `--nproc 2` would run them.

PYTHONPATH=src python -m torch.distributed.run --standalone --nproc-per-node 2 tests/stages/two_processes.py CALLS
(CALLS: the JSON of a list of [stage, [flags]])
"""

import importlib
import json
import sys
from collections.abc import Sequence

from supcon.cluster.launch import run_stage


def main(argv: Sequence[str] | None = None) -> None:
    for stage, flags in json.loads(sys.argv[1]):
        importlib.import_module(stage).main(flags)


if __name__ == "__main__":
    run_stage(main)
