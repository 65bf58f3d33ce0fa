"""Run every attack and print a table: python -m tests.attacks [part of a name]."""

import os
import sys
import tempfile
from contextlib import redirect_stdout
from pathlib import Path

from tests.attacks.attack import all_attacks, finished_root
from tests.conftest import copied_root


def main(part: str = "") -> int:
    """Print the table of the attacks whose name holds `part`; return how many ended wrong."""
    wrongs = 0
    with tempfile.TemporaryDirectory(prefix="attacks-") as folder:
        finished = Path(folder) / "finished"
        finished.mkdir()
        with open(os.devnull, "w") as null, redirect_stdout(null):
            finished_root(finished)
        print("| attack | what happened | right? |\n|---|---|---|")
        for number, one in enumerate(all_attacks()):
            if part not in one.name:
                continue
            if not one.needs():
                print(f"| {one.name} | this machine does not permit it | |", flush=True)
                continue
            end = one.do(copied_root(finished, Path(folder) / f"root{number}"))
            wrong = one.wrong(end)
            wrongs += bool(wrong)
            last = (end.said.strip().splitlines() or ["nothing said"])[-1].replace(folder, "...").replace("|", "/")
            happened = f"status {end.status} after {end.seconds:.0f} s: {last[:160]}"
            print(f"| {one.name} | {happened} | {wrong or 'yes'} |", flush=True)
    return wrongs


if __name__ == "__main__":
    sys.exit(min(1, main(*sys.argv[1:2])))
