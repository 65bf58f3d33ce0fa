"""The host's official client, `kaggle`, run as a subprocess: a failure becomes one line that says what to do.

This code never reads credentials: the client alone knows them. An error shows only the last line that the client
printed, without words that could be a secret.
"""

import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from supcon.errors import UserError, raised_signals

TESTED = "kaggle 1.8.4 to 2.2.4"
ANSWER_S = 120.0  # longest wait for an answer of a few lines
_LONGEST = 300  # characters of the client's own words in an error
_REFUSED = "the host refuses it without saying why: {page} says what it takes (notebooks alone: ./run.sh bundle --push)"
_OF_DATASETS = [  # before those of all
    (r"\b40[034] (-|Client)|\bForbidden\b|\bNot ?Found\b|Permission '[\w.]+' was denied",
     "the host has no such file, or does not show it to your account: compare its name with {page}"),
]  # fmt: skip
_CAUSES = [  # what versions of the client print, and what the user can do
    (r"Max retries exceeded|Failed to (resolve|establish)|NameResolution|Connection(Error| aborted| refused)"
     r"|ProxyError|SSLError|timed out|Temporary failure",
     "the host cannot be reached: check the network, then try again"),
    (r"Authentication required|must authenticate|find kaggle\.json|Invalid credentials|Unauthorized|Unauthenticated"
     r"|\b401 (-|Client)",
     "there is no valid login: run `kaggle auth login`, or make a token at https://www.kaggle.com/settings/api"),
    (r"only accepts Submissions from Notebooks|kernels.only",
     "this competition takes notebooks alone: ./run.sh bundle --push -m TEXT submits the run as one"),
    (r"Permission '(?!competitions)[\w.]+' was denied",
     "the host does not permit this to your account: verify its phone at https://www.kaggle.com/settings, or name"
     " another with --owner"),
    (r"submission allowance|(daily|submissions?) limit|(maximum|too many).* submissions|no submissions (left|remain)",
     "today's submissions are used up: try again after midnight UTC"),
    (r"accept .*rules|competitions\.participate|\b403 (-|Client)|\bForbidden\b",
     "the host refuses: join and accept the rules at {page}/rules, and check the competition's name"),
    (r"\b404 (-|Client)|\bNot ?Found\b|Could not find competition",
     "the host has no such competition, or it has closed: name it as in its address, {page}"),
    (r"\b429 (-|Client)|Too Many Requests", "the host asks for a pause: try again in a few minutes"),
    (r"No space left", "the disk is full: make room, then try again"),
    (r"\b400 (-|Client)", _REFUSED),
    (r"unrecognized arguments|invalid choice", f"this client is another version than those tested, {TESTED}"),
]  # fmt: skip


def find_client() -> Path:
    """Return the client's program: the one on PATH, else the one in the interpreter's folder. `UserError` for none."""
    program = shutil.which("kaggle") or shutil.which("kaggle", path=str(Path(sys.executable).parent))
    if not program:
        raise UserError(
            f"the host's client is not installed: {shlex.quote(sys.executable)} -m pip install -r"
            " requirements-kaggle.txt (then `kaggle auth login`)"
        )
    return Path(program)


def account(given: str) -> str:
    """Return `given`, or else the account that the client is logged in to. Raises `UserError` where it is no name."""
    if given:
        if not re.fullmatch(r"[A-Za-z0-9][\w-]*", given):
            raise UserError(f"--owner {given!r} is no account's name: take it from the address of your profile")
        return given
    name = re.search(r"username: ([A-Za-z0-9][\w-]*)", run_client(find_client(), "config", "view", limit_s=ANSWER_S))
    if name is None or name[1] == "None":
        raise UserError("the client knows no account: run `kaggle auth login`, or name yours with --owner NAME")
    return name[1]


def page_of(subject: str) -> str:
    """Return the address of the page of a competition, or of a dataset OWNER/NAME."""
    return f"https://www.kaggle.com/{'datasets' if '/' in subject else 'competitions'}/{subject}"


@raised_signals()  # the client must not outlive this process
def run_client(
    program: Path, *words: str, subject: str = "", limit_s: float = math.inf, tick: Callable[[], object] = lambda: None
) -> str:
    """Run the client with these words and return its stdout; call `tick` about once a second while it runs.

    `subject` is the competition, or the dataset OWNER/NAME, that an error is about.

    Raises `UserError` where the client fails, or where it takes longer than `limit_s` seconds.
    """
    try:
        process = subprocess.Popen(
            [str(program), *words],
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
        raise UserError(explain(f"{out}\n{err}", process.returncode, subject))
    return out


def explain(output: str, status: int, subject: str) -> str:
    """Return one line: why the client failed with this output and exit status, and what to do."""
    messages = [line for line in output.splitlines() if not line.startswith(" ")]  # no source lines of tracebacks
    if status == 1 and not output.strip() and "/" not in subject:  # a reason that is empty
        return _REFUSED.format(page=page_of(subject))
    for pattern, cure in [*(_OF_DATASETS if "/" in subject else []), *_CAUSES]:
        if re.search(pattern, "\n".join(messages), re.IGNORECASE):
            return cure.format(page=page_of(subject))
    return f"the kaggle client failed with exit status {status}: {last_words(output, subject)} (tested: {TESTED})"


def last_words(output: str, subject: str = "") -> str:
    """Return the last line of `output`, without the query part of URLs and without words that may be keys or tokens."""
    lines = [" ".join(line.split()) for line in output.splitlines() if line.strip()]
    if not lines:
        return "it printed nothing"
    line = re.sub(r"\?\S*", "?...", lines[-1])
    hidden = re.sub(r"(?=[\w-]*\d)[\w-]{20,}", lambda word: word[0] if word[0] in subject.split("/") else "...", line)
    return hidden[:_LONGEST]
