"""Seconds of each section of a run's report, and the page's size: `python benchmarks/report.py ROOT RUN`."""

import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

started = time.perf_counter()

from supcon.report.contents import CONTENTS  # noqa: E402
from supcon.report.page import make_sections, render  # noqa: E402
from supcon.report.run import open_run  # noqa: E402
from supcon.settings import parse  # noqa: E402


def main(root: str, name: str) -> None:
    print(f"{time.perf_counter() - started:6.1f} s  imports")
    begun = time.perf_counter()
    run = open_run(parse("", [f"--root={root}", f"--run={name}"]))
    print(f"{time.perf_counter() - begun:6.1f} s  the run and its stages")
    sections = []
    for title, maker in CONTENTS.items():
        begun, used = time.perf_counter(), time.process_time()
        sections += make_sections({title: maker}, run, title)
        print(f"{time.perf_counter() - begun:6.1f} s  {title} ({time.process_time() - used:.1f} s of the processor)")
    page = render(name, "", sections)
    print(f"{time.perf_counter() - started:6.1f} s  in all ({time.process_time():.1f} s of the processor)")
    print(f"{len(page.encode()) / 1e6:6.2f} MB")


if __name__ == "__main__":
    main(*sys.argv[1:])
