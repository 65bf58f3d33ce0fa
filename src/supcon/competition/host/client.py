"""The host's official client, `kaggle`, run as a subprocess; a failure becomes one line that says what to do.

This code never reads credentials: the client alone knows them. An error shows only the last line that the client
printed, without words that could be a secret.
"""

import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from supcon.errors import UserError

TESTED = "kaggle 1.8.4 to 2.2.4"
_LONGEST = 300  # characters of the client's own words in an error
_CAUSES = [  # what versions of the client print, and what the user can do
    (
        r"Max retries exceeded|Failed to (resolve|establish)|NameResolution|Connection(Error| aborted| refused)"
        r"|ProxyError|SSLError|timed out|Temporary failure",
        "the host cannot be reached: check the network, then try again",
    ),
    (
        r"Authentication required|must authenticate|find kaggle\.json|Invalid credentials|Unauthorized|Unauthenticated"
        r"|\b401 (-|Client)",
        "there is no valid login: run `kaggle auth login`, or make a token at https://www.kaggle.com/settings/api",
    ),
    (
        r"submission allowance|(daily|submissions?) limit|(maximum|too many).* submissions"
        r"|no submissions (left|remain)",
        "today's submissions are used up: try again after midnight UTC",
    ),
    (
        r"accept .*rules|competitions\.participate|\b403 (-|Client)|\bForbidden\b",
        "the host refuses: join and accept the rules at {page}/rules, and check the competition's name",
    ),
    (
        r"\b404 (-|Client)|\bNot ?Found\b|Could not find competition",
        "the host has no such competition, or it has closed: name it as in its address, {page}",
    ),
    (r"\b429 (-|Client)|Too Many Requests", "the host asks for a pause: try again in a few minutes"),
    (r"No space left", "the disk is full: make room, then try again"),
    (r"unrecognized arguments|invalid choice", f"this client is another version than those tested, {TESTED}"),
]


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


def run_client(
    program: Path,
    competition: str,
    arguments: Sequence[str],
    *,
    limit_s: float = math.inf,
    tick: Callable[[], object] = lambda: None,
) -> str:
    """Run the client and return its stdout; call `tick` about once a second while it runs.

    Raises `UserError` where the client fails, or where it takes longer than `limit_s` seconds.
    """
    try:
        process = subprocess.Popen(
            [str(program), *arguments],
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
