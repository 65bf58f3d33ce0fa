"""What a command says of its tasks: where each began, which epoch it is at, how it ended, how long the others take."""

import re
import time
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

_QUIET_S = 60.0  # between two lines on the epochs, where no terminal shows them all the time
_EPOCH = re.compile(r"(\w+) fold \S+  epoch (\d+/\d+)  ")  # as supcon.training.log prints it


class LogReader:
    """Reads what is printed to a file from now on."""

    def __init__(self, path: Path) -> None:
        self._path, self._read = path, path.stat().st_size if path.exists() else 0

    def lines(self) -> list[str]:
        """Return the whole lines since the last call."""
        if not self._path.is_file():
            return []
        with self._path.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        return whole.decode(errors="replace").splitlines()


class Board:
    """The lines on the tasks of one call, by their names."""

    def __init__(self, tasks: Sequence[tuple[str, Path]], *, in_turn: bool = False) -> None:
        self._logs = {} if in_turn else {name: LogReader(path) for name, path in tasks}
        self._epochs: dict[str, str] = {}  # of the tasks at work
        self._count, self._ended, self._most, self._told = len(tasks), 0, 1, time.time()
        self._seconds: list[float] = []  # of those that ended, but for those whose processes died
        hidden = True if in_turn else None  # the tasks show their own
        self._bar = tqdm(total=len(tasks), unit="task", leave=False, disable=hidden, dynamic_ncols=True)

    def __enter__(self) -> "Board":
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def begin(self, name: str) -> None:
        """Tell that a task begins here."""
        tqdm.write(f"{name}: {self._ended + 1} of {self._count}")

    def look(self) -> None:
        """Tell who has begun since the last look; show the epochs, on a terminal all the time."""
        for name, log in self._logs.items():
            for line in log.lines():
                if line.startswith(f"{name}: on "):
                    tqdm.write(line + " (ended before, it goes on from its last epoch)" * (name in self._epochs))
                    self._epochs[name] = ""
                elif epoch := _EPOCH.match(line):
                    self._epochs[name] = f" {epoch[1]} {epoch[2]}"
        self._most = max(self._most, len(self._epochs))
        at_work = "; ".join(f"{name}{epoch}" for name, epoch in self._epochs.items())
        self._bar.set_postfix_str(at_work)
        if self._bar.disable and at_work and time.time() > self._told + _QUIET_S:
            self._told = time.time()
            tqdm.write(f"at work: {at_work}")

    def end(self, name: str, how: str, seconds: float, failure: str = "") -> None:
        """Tell how a task ended, how long the others will take, and why it failed where it did."""
        self._logs.pop(name, None)
        self._epochs.pop(name, None)
        self._ended += 1
        self._seconds += [seconds] if seconds else []
        waiting = self._count - self._ended
        left = -(-waiting // self._most) * sum(self._seconds) / max(1, len(self._seconds))
        about = f"{left:.0f} s" if left < 100 else f"{left / 60:.0f} min"
        others = f"; {waiting} left, about {about}" if waiting else ""
        tqdm.write(f"{name}: {how}, {seconds:.0f} s{others}" + f": {failure}" * bool(failure))
        self._bar.update()
