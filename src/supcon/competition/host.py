"""The host, through its official client `kaggle`: list submissions, count those left today, upload, download.

The client is run as a subprocess, and a failure becomes one line that says what to do. This code never reads
credentials: the client alone knows them. An error shows only the last line that the client printed, without words that
could be a secret.
"""

import csv
import io
import json
import math
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from supcon.errors import UserError, raised_signals
from supcon.settings.sources import is_empty

TESTED = "kaggle 1.8.4 to 2.2.4"
ANSWER_S = 120.0  # longest wait for an answer of a few lines
NEAR_S = 900.0  # largest difference between this machine's clock and the host's
PART = ".download"  # folder below input/ for an unfinished download, which a second try continues
_LONGEST = 300  # characters of the client's own words in an error
_CAUSES = [  # what versions of the client print, and what the user can do
    (r"Max retries exceeded|Failed to (resolve|establish)|NameResolution|Connection(Error| aborted| refused)"
     r"|ProxyError|SSLError|timed out|Temporary failure",
     "the host cannot be reached: check the network, then try again"),
    (r"Authentication required|must authenticate|find kaggle\.json|Invalid credentials|Unauthorized|Unauthenticated"
     r"|\b401 (-|Client)",
     "there is no valid login: run `kaggle auth login`, or make a token at https://www.kaggle.com/settings/api"),
    (r"submission allowance|(daily|submissions?) limit|(maximum|too many).* submissions|no submissions (left|remain)",
     "today's submissions are used up: try again after midnight UTC"),
    (r"accept .*rules|competitions\.participate|\b403 (-|Client)|\bForbidden\b",
     "the host refuses: join and accept the rules at {page}/rules, and check the competition's name"),
    (r"\b404 (-|Client)|\bNot ?Found\b|Could not find competition",
     "the host has no such competition, or it has closed: name it as in its address, {page}"),
    (r"\b429 (-|Client)|Too Many Requests", "the host asks for a pause: try again in a few minutes"),
    (r"No space left", "the disk is full: make room, then try again"),
    (r"unrecognized arguments|invalid choice", f"this client is another version than those tested, {TESTED}"),
]  # fmt: skip


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
        output = run_client(self.program, self.competition, "submit", *options)
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
            run_client(self.program, self.competition, "download", *options, tick=tick)
            return _move_whole(part, folder / f"{self.competition}.zip")
        finally:
            if part.exists() and not _bytes_in(part):
                shutil.rmtree(part, ignore_errors=True)

    def _ask(self, command: str, *options: str) -> str:
        return run_client(self.program, self.competition, command, *options, limit_s=ANSWER_S)


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


def find_client() -> Path:
    """Return the client's program: the one on PATH, else the one in the interpreter's folder. `UserError` for none."""
    program = shutil.which("kaggle") or shutil.which("kaggle", path=str(Path(sys.executable).parent))
    if not program:
        raise UserError(
            f"the host's client is not installed: {sys.executable} -m pip install -r requirements-kaggle.txt"
            " (then `kaggle auth login`)"
        )
    return Path(program)


def page_of(competition: str) -> str:
    """Return the address of a competition's page."""
    return f"https://www.kaggle.com/competitions/{competition}"


@raised_signals()  # the client must not outlive this process
def run_client(
    program: Path,
    competition: str,
    command: str,
    *options: str,
    limit_s: float = math.inf,
    tick: Callable[[], object] = lambda: None,
) -> str:
    """Run a command of the client and return its stdout; call `tick` about once a second while it runs.

    Raises `UserError` where the client fails, or where it takes longer than `limit_s` seconds.
    """
    try:
        process = subprocess.Popen(
            [str(program), "competitions", command, competition, *options],
            stdin=subprocess.DEVNULL,  # a client that asks a question ends without an answer
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONIOENCODING": "utf-8"},  # it can print emoji in any locale
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise UserError(f"{program} could not be started ({error.strerror or error}): install it again") from None
    waited = 0
    try:
        while True:
            with suppress(subprocess.TimeoutExpired):
                out, err = process.communicate(timeout=1)
                break
            waited += 1
            tick()
            if waited >= limit_s:
                raise UserError(f"the host has not answered for {waited} s: check the network, then try again")
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if process.returncode:
        raise UserError(explain(f"{out}\n{err}", process.returncode, competition))
    return out


def explain(output: str, status: int, competition: str) -> str:
    """Return one line: why the client failed with this output and exit status, and what to do."""
    messages = [line for line in output.splitlines() if not line.startswith(" ")]  # no source lines of tracebacks
    for pattern, cure in _CAUSES:
        if re.search(pattern, "\n".join(messages), re.IGNORECASE):
            return cure.format(page=page_of(competition))
    return f"the kaggle client failed with exit status {status}: {last_words(output, competition)} (tested: {TESTED})"


def last_words(output: str, competition: str = "") -> str:
    """Return the last line of `output`, without the query part of URLs and without words that may be keys or tokens."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    if not lines:
        return "it printed nothing"
    line = re.sub(r"\?\S*", "?...", lines[-1])
    hidden = re.sub(r"(?=[\w-]*\d)[\w-]{20,}", lambda word: word[0] if word[0] == competition else "...", line)
    return hidden[:_LONGEST]
