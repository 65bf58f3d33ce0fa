"""A stage that knows whether its work is done, and by which settings.

Law 4: `STAGE.done.json` comes last and holds the fingerprint: the settings that matter to the stage, its inputs, and
the fingerprints of the stages before it. Same fingerprint: skip. Different: stop, or set the old files aside.
"""

import dataclasses
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import yaml

from supcon.errors import UserError
from supcon.run.done import read_done, refuse_other_sizes, write_done
from supcon.run.stages import Stage
from supcon.settings import FULL, Request, Settings, fold_name
from supcon.settings.hosted import hosted_at
from supcon.settings.sources import flatten
from supcon.storage import lock
from supcon.storage.files import read_json, remove_leftovers, write_json, write_text
from supcon.storage.processes import peak_memory

_AT_TIMES = {  # settings that count with their whole section not always: whether they do where they are given
    "weights": False,  # their content is an input
    "checkpointing": False,  # changes no result
    "kwargs": True,  # which earlier versions did not know
    **dict.fromkeys(("frozen", "lora_rank", "frozen_groups"), True),
    # named by themselves where they count
    **dict.fromkeys(("neighbours", "neighbour_temperature", "frozen_views", "adapter_width"), False),
    **dict.fromkeys(("policy", "num_ops", "magnitude", "severity"), False),
}
Fingerprint = dict[str, Any]  # flat: setting or input -> value


def fingerprint(stage: Stage, request: Request, inputs: Mapping[str, str]) -> Fingerprint:
    """Return what the result of `stage` depends on: settings by dotted key, inputs by name with their hash."""
    sections = dataclasses.asdict(request.settings)
    keys = [*stage.settings, *(key for holds, keys in stage.settings_where if holds(request.settings) for key in keys)]
    result: Fingerprint = {}
    for key in keys:
        section, _, name = key.partition(".")
        for setting, value in sections[section].items():
            if name == setting or not name and (setting not in _AT_TIMES or value and _AT_TIMES[setting]):
                result[f"{section}.{setting}"] = value
    return result | {f"input {name}": value for name, value in inputs.items()}


@dataclass(frozen=True)
class StageRun:
    """One stage of one run (of one fold, where it is per fold): its files and its state."""

    stage: Stage
    request: Request
    fold: int | None
    inputs: Mapping[str, str]  # name -> hash

    @property
    def name(self) -> str:
        """As the table of stages calls it."""
        return self.stage.name

    @property
    def files(self) -> tuple[str, ...]:
        """What it writes, below its folder: the model on all rows holds none out."""
        return tuple(file for file in self.stage.files if (self.fold, file) != (FULL, "oof.npz"))

    @property
    def folder(self) -> Path:
        """Where its files lie."""
        return self.request.run_folder if self.fold is None else self.request.fold_folder(self.fold)

    @property
    def label(self) -> str:
        """How messages call it."""
        return self.name if self.fold is None else f"{self.name} fold {fold_name(self.fold)}"

    @property
    def fingerprint(self) -> Fingerprint:
        """What its result depends on."""
        return fingerprint(self.stage, self.request, self.inputs)

    @property
    def done_file(self) -> Path:
        """Written last."""
        return self.folder / f"{self.name}.done.json"

    @property
    def started_file(self) -> Path:
        """Written first, so that unfinished work is not continued under other settings."""
        return self.folder / f"{self.name}.started.json"

    @property
    def _lock_file(self) -> Path:
        return self.folder / f".{self.name}.lock"

    def ready(self) -> bool:
        """Say whether there is work to do, and prepare for it.

        Returns False, having said so, when the same work is already done; another process that is at it is waited for.
        Raises `UserError` when other settings or inputs made what is there. With `--force` what is there, finished or
        not, is moved to runs/NAME/old/, and another process at it is an error.
        """
        what = f"{self.label} of run {self.request.run}"
        if self.request.force:
            if holder := lock.try_take(self._lock_file):
                raise UserError(
                    f"{what} is being worked on by {holder}: wait for it or end it, then --force can redo it"
                )
            self._set_aside()
        elif not self.done():
            lock.take(self._lock_file, what)
        if self.done():  # asked again: the process that was waited for may have done it
            lock.release(self._lock_file)
            print(f"{self.label}: done already", flush=True)
            return False
        remove_leftovers(self.folder)
        write_resolved(self.request)
        write_json(self.started_file, {"fingerprint": self.fingerprint})
        return True

    def done(self) -> bool:
        """Say whether the work is done, its files there in the sizes that they were written in.

        Raises `UserError` when other settings or inputs made what is there, or a file has another size.
        """
        self._refuse_difference()
        if not self.done_file.exists() or not all((self.folder / file).exists() for file in self.files):
            return False
        refuse_other_sizes(self.done_file, read_done(self.done_file), self.files)
        return True

    def finish(self, started: float, beside: Sequence[str] = (), **facts: Any) -> None:
        """Write done.json: fingerprint, files, `facts` such as a score, seconds since `started`, memory, versions.

        Tables that lie `beside` the stage's files are described as they are.
        """
        facts = {
            **facts,
            "seconds": round(time.time() - started, 1),
            **peak_memory(),
            "versions": versions(),
            "commit": _commit(),
        }
        write_done(self.done_file, self.fingerprint, self.files, beside, facts)
        self.started_file.unlink(missing_ok=True)
        lock.release(self._lock_file)

    def require(self) -> str:
        """Return the hash of this stage's finished work; `UserError` when it is not done, or done otherwise."""
        command = self.request.command(self.stage.module, self.fold)
        if not self.done_file.exists():
            raise UserError(f"{self.label} of run {self.request.run} is not done: run `{command}` first")
        self._refuse_difference(f"redo it by `{command} --force` and the settings of this call, or use another --run")
        return str(read_done(self.done_file)["hash"])

    def changed(self) -> dict[str, tuple[object, object]]:
        """Return by what in the fingerprint that which is there, finished or not, was made otherwise: then and now."""
        path = self.done_file if self.done_file.exists() else self.started_file
        if not path.exists() or (path == self.started_file and not self._holds_work()):
            return {}
        content = read_done(path) if path == self.done_file else read_json(path, "--force starts the stage anew")
        then, now = content.get("fingerprint", {}), self.fingerprint
        pairs = {key: (then.get(key), now.get(key)) for key in sorted(then.keys() | now.keys())}
        return {key: (before, after) for key, (before, after) in pairs.items() if before != after}

    def forget(self) -> None:
        """Let the work be done again in place of what is there."""
        self.done_file.unlink(missing_ok=True)
        self.started_file.unlink(missing_ok=True)

    def _refuse_difference(
        self, cure: str = "use another --run, or --force to redo it (the old files are kept in old/)"
    ) -> None:
        if changed := self.changed():
            shown = ", ".join(
                f"{key.removeprefix('input ')} changed" if key.startswith("input ") else f"{key} {then} -> {now}"
                for key, (then, now) in _told(changed, self.request.settings).items()
            )
            raise UserError(f"{self.label} of run {self.request.run} was made otherwise: {shown}; {cure}")

    def _holds_work(self) -> bool:
        """Say whether unfinished work left anything to go on from."""
        return any((self.folder / name).exists() for name in (*self.files, *self.stage.logs, self._checkpoint))

    @property
    def _checkpoint(self) -> str:
        return f"{self.name}.checkpoint.pt"

    def _set_aside(self) -> None:
        names = (*self.files, *self.stage.logs, self.done_file.name, self.started_file.name, self._checkpoint)
        there = [self.folder / name for name in dict.fromkeys(names) if (self.folder / name).exists()]
        if there:
            where = self.request.run_folder / "old" / f"{self.label.replace(' ', '-')}-{time.strftime('%Y%m%d-%H%M%S')}"
            while where.exists():
                where = where.with_name(where.name + "x")
            (where / "tensorboard").mkdir(parents=True)
            for path in sorted(there, key=lambda path: path != self.done_file):  # done.json first: no half-done state
                shutil.move(path, where / path.relative_to(self.folder))
            print(f"{self.label}: the old files are in {where}", flush=True)


def _told(changed: Mapping[str, tuple[object, object]], settings: Settings) -> Mapping[str, tuple[object, object]]:
    """Return what of a difference a user has made: fingerprints leave out settings that had, or have, no effect."""
    before = flatten(dataclasses.asdict(Settings())) | {"data.store": "pixels"}  # which alone is left out, not `auto`
    today = flatten(dataclasses.asdict(settings))
    filled = {
        key: (before.get(key) if then is None else then, today.get(key) if now is None else now)
        for key, (then, now) in changed.items()
    }
    return {key: pair for key, pair in filled.items() if None not in pair and pair[0] != pair[1]} or changed


def write_resolved(request: Request) -> None:
    """Write every setting of the run to resolved.yaml, where later calls start from."""
    settings = dataclasses.asdict(request.settings)
    if hosted := hosted_at(Path(request.settings.model.weights), request.root):
        settings["model"]["weights"] = str(hosted)  # which holds on other machines too
    content = {"config": request.config, "config_settings": request.config_settings, "settings": settings}
    if request.measured:
        content["measured"] = dict(request.measured)
    write_text(request.run_folder / "resolved.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on."""
    names = ("torch", "timm", "albumentations", "opencv-python-headless", "numpy", "optuna")
    return {"python": platform.python_version(), **{name: metadata.version(name) for name in names}}


@cache
def _commit() -> str:
    """Return the repository's commit, with '+' when files differ from it; empty outside git."""
    source = Path(__file__).parent

    def git(*words: str) -> str:
        try:
            return subprocess.run(
                ["git", *words], cwd=source, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    commit = git("rev-parse", "HEAD")
    return commit + ("+" if commit and git("status", "--porcelain", "--untracked-files=no") else "")
