"""What the user has on the host, through its client: datasets and notebooks, uploaded and waited for."""

import hashlib
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from supcon.competition.client import ANSWER_S, TESTED, last_words, run_client
from supcon.errors import UserError
from supcon.storage.files import read_json

DATASET_FILE, NOTEBOOK_FILE = "dataset-metadata.json", "kernel-metadata.json"  # as the client calls them
_LONGEST_NAME = 50  # characters
PAUSE_S = 10.0  # between two looks at what the host makes of it
DATASET_S = 1800.0  # longest wait until an uploaded dataset can be attached


@dataclass(frozen=True)
class Version:
    """A version of a notebook."""

    name: str  # OWNER/NAME
    number: int

    @property
    def page(self) -> str:
        """Its address."""
        return f"https://www.kaggle.com/code/{self.name}"


def push_dataset(program: Path, folder: Path, message: str) -> str:
    """Upload a folder as the dataset that its metadata names, or as a new version of it; return OWNER/NAME.

    Waits until the host has it ready. Raises `UserError` where the host refuses it, or is not ready in `DATASET_S`.
    """
    name = str(read_json(folder / DATASET_FILE)["id"])
    options = f"--path={folder}", "--dir-mode=zip", "--quiet"
    output = run_client(program, "datasets", "create", *options)
    if "already in use" in output:
        output = run_client(program, "datasets", "version", *options, f"--message={message}")
    if "error" in output.lower():
        raise UserError(f"the host did not take the dataset {name}: {last_words(output, name)}")
    wait = _Wait(f"dataset {name}", DATASET_S)
    while (status := _last_word(run_client(program, "datasets", "status", name, limit_s=ANSWER_S))) != "ready":
        if "error" in status or "fail" in status:
            raise UserError(f"the host could not make the dataset {name} ({status}): https://www.kaggle.com/{name}")
        wait.pause()
    return name


def push_notebook(program: Path, folder: Path, competition: str) -> Version:
    """Upload a folder's notebook, which the host then runs. Raises `UserError` where it refuses it or its inputs."""
    name = str(read_json(folder / NOTEBOOK_FILE)["id"])
    output = run_client(program, "kernels", "push", f"--path={folder}", subject=competition)
    if refused := re.search(r"not valid (\w+) sources[^:]*: \[(.*)\]", output):
        cure = "join it, or check its name" if refused[1] == "competition" else "check that it is there, and yours"
        raise UserError(f"the notebook {name} cannot have the {refused[1]} {refused[2]}: {cure}")
    number = re.search(r"version (\d+) successfully pushed", output)
    if number is None:
        raise UserError(f"the host did not take the notebook {name}: {last_words(output, name)} (tested: {TESTED})")
    return Version(name, int(number[1]))


def wait_for_notebook(program: Path, version: Version, limit_s: float, tell: Callable[[str], object]) -> bool:
    """Wait until the host has run the notebook; say whether it has within `limit_s` seconds; `tell` of changes.

    Raises `UserError` where it failed there.
    """
    wait, before = _Wait("", limit_s), ""
    while True:
        output = run_client(program, "kernels", "status", version.name, limit_s=ANSWER_S)
        status = re.search(r'has status "(?:\w+\.)?(\w+)"', output)
        now = status[1].lower() if status else "unknown"
        if now != before:
            tell(f"the notebook is {now} on the host")
        if now == "complete":
            return True
        if now in ("error", "cancel_acknowledged", "cancel_requested"):
            why = re.search(r'Failure message: "(.*)"', output)
            raise UserError(f"the notebook failed on the host ({why[1] if why else now}): its log is at {version.page}")
        if wait.is_over:
            return False
        before = now
        time.sleep(PAUSE_S)


def slug(run: str, part: str) -> str:
    """Return how the host calls a part of a run, in at most its 50 characters."""
    plain = re.sub(r"[^a-z0-9]+", "-", run.lower()).strip("-")
    room = _LONGEST_NAME - len(f"supcon--{part}")
    if plain != run.replace("_", "-") or len(plain) > room:  # letters are lost
        digits = hashlib.sha256(run.encode()).hexdigest()[:6]
        plain = f"{plain[: room - 7].strip('-')}-{digits}".strip("-")
    return f"supcon-{plain}-{part}"


def dataset_metadata(owner: str, name: str) -> dict[str, object]:
    """Return what the client wants to know of a dataset of the user's."""
    return {"title": name.replace("-", " "), "id": f"{owner}/{name}", "licenses": [{"name": "other"}]}


def notebook_metadata(
    owner: str, name: str, file: str, *, gpu: bool, datasets: list[str], competition: str, notebooks: Sequence[str] = ()
) -> dict[str, object]:
    """Return what the client wants to know of a notebook that has no network, and what of the user's is attached."""
    return {
        "id": f"{owner}/{name}", "title": name.replace("-", " "), "code_file": file, "language": "python",
        "kernel_type": "notebook", "is_private": True, "enable_gpu": gpu, "enable_internet": False,
        "dataset_sources": [f"{owner}/{other}" for other in datasets], "competition_sources": [competition],
        "kernel_sources": [f"{owner}/{other}" for other in notebooks], "model_sources": [],
    }  # fmt: skip


class _Wait:
    def __init__(self, what: str, limit_s: float) -> None:
        self._what, self._end = what, time.monotonic() + limit_s

    @property
    def is_over(self) -> bool:
        return time.monotonic() >= self._end

    def pause(self) -> None:
        if self.is_over:
            raise UserError(f"the host is still at work on the {self._what}: give the same command later")
        time.sleep(PAUSE_S)


def _last_word(text: str) -> str:
    return (text.split() or [""])[-1].lower()
