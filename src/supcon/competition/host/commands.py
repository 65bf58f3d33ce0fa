"""What the host is asked: which submissions there are, how many are left today, take this file, give me the data."""

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

from supcon.competition.host.client import TESTED, last_words, page_of, run_client
from supcon.errors import UserError
from supcon.settings.builtin_mark import is_empty

ANSWER_S = 120.0  # longest wait for an answer that is a few lines
NEAR_S = 900.0  # how far this machine's clock may be from the host's
PART = ".download"  # folder below input/ where a download grows; a second try goes on from it


@dataclass(frozen=True)
class Submission:
    """One submission as the host lists it."""

    key: str  # the host's number of it, or what else tells it from the others
    date: str  # UTC, to the second
    message: str
    status: str  # pending, complete or error
    public_score: str  # "" while there is none

    @property
    def outcome(self) -> str:
        """What the ledger keeps: the public score, "error", "none" where the host shows no score, "" while pending."""
        if self.status == "complete":
            return self.public_score or "none"
        return "error" if self.status == "error" else ""


@dataclass(frozen=True)
class Host:
    """One competition, seen through the client."""

    program: Path
    competition: str

    def submissions(self) -> list[Submission]:
        """Return this team's newest submissions, newest first as the host lists them."""
        output = self._ask("submissions", self.competition, "--csv", "--quiet")
        header = re.search(r"^.*\bpublicScore\b", output, re.MULTILINE)  # warnings may stand before it
        if header:
            return [_submission(row) for row in csv.DictReader(io.StringIO(output[header.start() :], newline=""))]
        if "No submissions found" in output:
            return []
        raise UserError(f"the client's list of submissions was not understood: use a tested version, {TESTED}")

    def left_today(self) -> int | None:
        """Return how many submissions are left today; None where the client or the host does not tell."""
        try:
            limits = json.loads(self._ask("submission-limits", self.competition, "--json"))
            left, ever = (int(limits.get(name, 0)) for name in ("numAllowedNow", "numTotal"))  # zeros are left out
        except (UserError, ValueError, TypeError, AttributeError):  # older clients have no such command
            return None
        return left if left or ever else None  # all zeros stand for a team that has not begun

    def upload(self, path: Path, message: str) -> None:
        """Submit a file. The joined `--message=` keeps a leading dash from being taken for an option."""
        words = ["submit", self.competition, f"--file={path.resolve()}", f"--message={message}", "--quiet"]
        output = run_client(self.program, self.competition, ["competitions", *words])
        if "Could not submit" in output or "Could not find competition" in output:  # these end with exit status 0
            raise UserError(
                f"the upload failed ({last_words(output)}): check the network and {page_of(self.competition)}"
            )

    def download(self, folder: Path, progress: Callable[[int], object]) -> Path:
        """Fetch the host's zip into an empty `folder`; `progress` gets the bytes that are there about once a second."""
        if not is_empty(folder):
            raise UserError(f"{folder} holds files already: move them away, or download into another --root DIR")
        part = folder / PART
        try:
            part.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"{part} could not be made ({error.strerror}): make {folder} a writable folder") from None
        words = ["download", self.competition, f"--path={part}", "--quiet"]
        try:
            run_client(self.program, self.competition, ["competitions", *words], tick=lambda: progress(_bytes_in(part)))
            return _move_whole(part, folder / f"{self.competition}.zip")
        finally:
            if part.exists() and not _bytes_in(part):
                shutil.rmtree(part, ignore_errors=True)

    def _ask(self, *words: str) -> str:
        return run_client(self.program, self.competition, ["competitions", *words], limit_s=ANSWER_S)


def competition_name(given: str, folder: Path) -> str:
    """Return the competition's name: `given`, or the stem of the only zip in input/, since hosts name it so."""
    zips = sorted(path.stem for path in folder.glob("*.zip") if not path.name.startswith("."))
    if not given and len(zips) != 1:
        there = f"{len(zips)} zips" if zips else "no zip"
        raise UserError(f"{folder} has {there} to name the competition: add --competition NAME, as in its address")
    name = given or zips[0]
    if not re.fullmatch(r"[A-Za-z0-9][\w-]*", name):
        raise UserError(f"{name!r} is no competition's name: --competition takes the last part of its address")
    return name


def find_new(listed: Iterable[Submission], before: Iterable[Submission], message: str) -> Submission | None:
    """Return the submission with this message that was not there before, if the host lists one."""
    known = {one.key for one in before}
    return next((one for one in listed if one.key not in known and _same(one.message, message)), None)


def find_uploaded(listed: Iterable[Submission], message: str, submitted: str) -> Submission | None:
    """Return the submission with this message of the time `submitted` (UTC), if the host lists one."""
    away = {one: abs(_seconds(one.date) - _seconds(submitted)) for one in listed if _same(one.message, message)}
    nearest = min(away, key=lambda one: away[one], default=None)
    return nearest if nearest and away[nearest] <= NEAR_S else None


def _same(one: str, other: str) -> bool:
    return one.split() == other.split()  # the host may change white space


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
    """Move what was fetched to `path` once it is a whole zip on disk."""
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
