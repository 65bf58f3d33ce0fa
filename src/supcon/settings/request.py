"""What one command is asked to do: on which root, run and folds, with which settings."""

import argparse
import shlex
from dataclasses import dataclass, field
from pathlib import Path

from supcon.settings.settings import Settings
from supcon.settings.sources import REPOSITORY, Flat
from supcon.settings.tasks import TaskOptions

FULL = -3  # `--fold full`, which no row has: nothing is held out, all but what is left out is trained on


@dataclass(frozen=True)
class Request:
    """What one command is asked to do."""

    root: Path
    run: str
    settings: Settings
    folds: list[int] = field(default_factory=list)  # empty: all of the split; FULL comes last
    force: bool = False
    config: str = ""  # the config's stem
    config_settings: Flat = field(default_factory=dict)  # what the config file says, by dotted key
    measured: Flat = field(default_factory=dict)  # what was measured to choose a setting, by its key
    options: argparse.Namespace = field(default_factory=argparse.Namespace)  # the command's own
    given: Flat = field(default_factory=dict)  # settings given as flags, by dotted key
    tasks: TaskOptions = field(default_factory=TaskOptions)  # of this call: how many folds or searches at once
    named: tuple[str, ...] = ()  # --config and --run as they were given, where they are not the defaults

    @property
    def run_folder(self) -> Path:
        """runs/NAME of the root."""
        return self.root / "runs" / self.run

    def fold_folder(self, fold: int) -> Path:
        """Return runs/NAME/fold3, or runs/NAME/full."""
        return self.run_folder / ("full" if fold == FULL else f"fold{fold}")

    def command(self, stage: str, fold: int | None = None) -> str:
        """Return the command of a stage of this run, as a shell reads it, that works on the same root and run."""
        return command_of(stage, self.root, *self.named, *([] if fold is None else ["--fold", fold_name(fold)]))


def command_of(stage: str, root: Path, *words: str) -> str:
    """Return the command of a stage, as a shell reads it, with `--root` where that is not the repository."""
    where = [] if root == REPOSITORY else ["--root", str(root)]
    return shlex.join(["python", f"src/{stage}.py", *where, *words])


def fold_name(fold: int) -> str:
    """Return how `--fold` calls a fold: 3, or full."""
    return "full" if fold == FULL else str(fold)
