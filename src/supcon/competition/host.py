"""The host, through its official client `kaggle`: list submissions, count those left today, upload, download."""

import csv
import io
import json
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from supcon.competition.client import ANSWER_S, TESTED, last_words, page_of, run_client
from supcon.errors import UserError
from supcon.settings.sources import is_empty

NEAR_S = 900.0  # largest difference between this machine's clock and the host's
SUBMISSION = "submission.csv"  # what a notebook writes
PART = ".download"  # folder below input/ for an unfinished download, which a second try continues


@dataclass(frozen=True)
class Submission:
    """One submission as the host lists it."""

    key: str  # the host's number of the submission, or another string that is unique to it
    date: str  # UTC, to the second
    message: str
    status: str  # pending, complete or error
    public_score: str  # "" while there is none

    @property
    def outcome(self) -> str:
        """The ledger's cell: the public score, "error", "none" where the host shows no score, or "" while pending."""
        if self.status == "complete":
            return self.public_score or "none"
        return "error" if self.status == "error" else ""


@dataclass(frozen=True)
class Host:
    """One competition, seen through the client."""

    program: Path
    competition: str

    def submissions(self) -> list[Submission]:
        """Return this team's newest submissions, the newest first, in the host's order."""
        output = self._ask("submissions", "--csv", "--quiet")
        header = re.search(r"^.*\bpublicScore\b", output, re.MULTILINE)  # warnings may stand before it
        if header:
            return [_submission(row) for row in csv.DictReader(io.StringIO(output[header.start() :], newline=""))]
        if "No submissions found" in output:
            return []
        raise UserError(f"the client's list of submissions was not understood: use a tested version, {TESTED}")

    def left_today(self) -> int | None:
        """Return how many submissions are left today; None where the client or the host does not say."""
        try:
            limits = json.loads(self._ask("submission-limits", "--json"))
            left, total = (int(limits.get(name, 0)) for name in ("numAllowedNow", "numTotal"))  # zeros are left out
        except (UserError, ValueError, TypeError, AttributeError):  # older clients have no such command
            return None
        return left if left or total else None  # the host answers with zeros for a team without submissions

    def upload(self, path: Path, message: str) -> None:
        """Submit a file. Raises `UserError` where the upload fails."""
        options = f"--file={path.resolve()}", f"--message={message}", "--quiet"  # the message may begin with a dash
        self._submit(*options)

    def submit_notebook(self, name: str, version: int, message: str) -> None:
        """Submit what a version of the notebook OWNER/NAME has written. Raises `UserError` where that fails."""
        output = f"--file={SUBMISSION}"
        self._submit(f"--kernel={name}", f"--version={version}", output, f"--message={message}", "--quiet")

    def _submit(self, *options: str) -> None:
        output = self._run("submit", *options)
        if "Could not submit" in output or "Could not find competition" in output:  # these end with exit status 0
            raise UserError(
                f"the upload failed ({last_words(output)}): check the network and {page_of(self.competition)}"
            )

    def download(self, folder: Path, progress: Callable[[int], object]) -> Path:
        """Download the host's zip into an empty `folder`; call `progress` with the bytes so far about once a second.

        Raises `UserError` where the folder is not empty, or the download fails.
        """
        if not is_empty(folder):
            raise UserError(f"{folder} holds files already: move them away, or download into another --root DIR")
        part = folder / PART
        try:
            part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{part} could not be made ({error.strerror}): make {folder} a writable folder") from None
        options, tick = (f"--path={part}", "--quiet"), lambda: progress(_bytes_in(part))
        try:
            self._run("download", *options, tick=tick)
            return _move_whole(part, folder / f"{self.competition}.zip")
        finally:
            if part.exists() and not _bytes_in(part):
                shutil.rmtree(part, ignore_errors=True)

    def _ask(self, command: str, *options: str) -> str:
        return self._run(command, *options, limit_s=ANSWER_S)

    def _run(self, command: str, *options: str, **how: Any) -> str:
        words = ("competitions", command, self.competition, *options)
        return run_client(self.program, *words, subject=self.competition, **how)


def competition_name(given: str, folder: Path) -> str:
    """Return the competition's name: `given`, or else the stem of the only zip in input/, which hosts name after it.

    Raises `UserError` where no zip or several are there, or where the name cannot be a competition's.
    """
    zips = sorted(path.stem for path in folder.glob("*.zip") if not path.name.startswith("."))
    if not given and len(zips) != 1:
        count = f"{len(zips)} zips" if zips else "no zip"
        raise UserError(f"{folder} has {count} to name the competition: add --competition NAME, as in its address")
    name = given or zips[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise UserError(f"{name!r} is no competition's name: --competition takes the last part of its address")
    return name


def find_new(listed: Iterable[Submission], before: Iterable[Submission], message: str) -> Submission | None:
    """Return the listed submission with this message that was not listed before, if there is one."""
    known = {submission.key for submission in before}
    new = (submission for submission in listed if submission.key not in known)
    return next((submission for submission in new if _same(submission.message, message)), None)


def find_uploaded(listed: Iterable[Submission], message: str, submitted: str) -> Submission | None:
    """Return the listed submission with this message of about the time `submitted` (UTC), if there is one."""
    alike = [submission for submission in listed if _same(submission.message, message)]
    distances = {submission: abs(_seconds(submission.date) - _seconds(submitted)) for submission in alike}
    nearest = min(distances, key=lambda submission: distances[submission], default=None)
    return nearest if nearest and distances[nearest] <= NEAR_S else None


def _same(message: str, other: str) -> bool:
    return message.split() == other.split()  # the host may change white space


def _seconds(date: str) -> float:
    try:
        return datetime.fromisoformat(date).replace(tzinfo=UTC).timestamp()
    except ValueError:
        return 0.0


def _submission(row: dict[str, str]) -> Submission:
    cells = {key: "" if value in (None, "None") else value for key, value in row.items()}
    date, message = cells.get("date", ""), cells.get("description", "")
    key = cells.get("ref") or f"{date} {cells.get('fileName', '')} {message}"
    status = cells.get("status", "").rpartition(".")[2].lower()  # SubmissionStatus.COMPLETE, or complete
    return Submission(key, date[:19], message, status, cells["publicScore"])


def _bytes_in(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.zip"))


def _move_whole(part: Path, path: Path) -> Path:
    """Move the downloaded file to `path` where it is a whole zip, once it is on disk; else raise `UserError`."""
    fetched = part / path.name
    if not zipfile.is_zipfile(fetched):
        shutil.rmtree(part, ignore_errors=True)
        raise UserError(
            f"the host's download is no whole zip file: try again, or fetch it from {page_of(path.stem)}/data"
        )
    with fetched.open("rb") as file:
        os.fsync(file.fileno())
    fetched.replace(path)
    shutil.rmtree(part, ignore_errors=True)
    return path
